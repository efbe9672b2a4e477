"""Moto, and the real Terraform configuration applied to it."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.aws import everything
from tests.aws.deployment import Aws, Deployment, prepare, running_moto


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    """Moto, for the deployment that the tests share."""
    with running_moto() as running:
        yield running


@pytest.fixture(scope="session")
def deployment(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The configuration with its defaults and one address to alert, applied once."""
    prepared = prepare(tmp_path_factory.mktemp("deployment"), aws, lifecycle=False)
    prepared.apply(alert_emails=["operator@example.com"])
    return prepared


@pytest.fixture
def last_of_deployment(deployment: Deployment) -> Deployment:
    """The shared deployment, for the test that may destroy it: it runs after all others."""
    return deployment


@pytest.fixture(scope="session")
def everything_done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[None]]:
    """`everything` at work: it waits for minutes, of which the other tests need not know."""
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(everything.everything, tmp_path_factory.mktemp("everything"))


def fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def begin_early(request: pytest.FixtureRequest) -> None:
    """Begin with what takes longest, where its test is to run."""
    if any("everything_done" in fixtures(item) for item in request.session.items):
        request.getfixturevalue("everything_done")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nobody finds the shared deployment destroyed, and nobody waits before all else is done."""
    items.sort(key=lambda item: bool(fixtures(item) & {"last_of_deployment", "everything_done"}))


@pytest.fixture(scope="session")
def account(deployment: Deployment) -> Aws:
    """The account after the apply."""
    return deployment.aws

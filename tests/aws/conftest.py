"""Moto, and the real Terraform configuration applied to it."""

from collections.abc import Iterator

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nobody finds the shared deployment destroyed."""
    items.sort(key=lambda item: "last_of_deployment" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def account(deployment: Deployment) -> Aws:
    """The account after the apply."""
    return deployment.aws

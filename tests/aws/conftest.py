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


@pytest.fixture(scope="session")
def account(deployment: Deployment) -> Aws:
    """The account after the apply."""
    return deployment.aws

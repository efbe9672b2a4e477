"""AWS's stand-in: secrets for the jobs."""

import boto3
import pytest

from local.aws import Aws, running_aws


def read(aws: Aws, name: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in aws.environment().items():
            patch.setenv(variable, value)
        answer = boto3.session.Session().client("secretsmanager").get_secret_value(SecretId=name)
    return str(answer["SecretString"])


def test_a_secret_is_found_with_nothing_but_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with running_aws() as aws:
        aws.create_secret("totesys/unit", {"port": 5432, "password": "é\"'"})

        assert read(aws, "totesys/unit") == '{"port": 5432, "password": "\\u00e9\\"\'"}'

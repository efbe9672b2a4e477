"""The real Terraform configuration, to be applied to moto.

Needs the ``terraform`` program and its AWS provider: from the folder that ``TF_PLUGIN_DIR`` names,
or, without that, from the internet.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from local import moto_process, terraform
from local.terraform import LOCAL_STATE, NO_LIFECYCLE, copy_configuration

REPOSITORY = Path(__file__).resolve().parents[2]
REGION = "eu-west-2"


def environment(endpoint: str) -> dict[str, str]:
    """This process's environment, with every AWS client sent to moto."""
    aws = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    variables = {"environment": "test", "build_folder": "tests/build", "protect_data": "false"}
    return terraform.environment(aws, variables)


@dataclass
class Aws:
    """A running moto, for one thread: boto3's default session is not for several."""

    endpoint: str
    session: boto3.Session = field(default_factory=boto3.Session)

    def client(self, service: str, **credentials: str) -> Any:
        """A client of one service, by default as an administrator."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", **credentials}
        return self.session.client(service, endpoint_url=self.endpoint, region_name=REGION, **keys)


@contextmanager
def running_moto() -> Iterator[Aws]:
    """Run local/moto_server.py on a free port while the block lasts."""
    with moto_process.running_moto() as endpoint:
        yield Aws(endpoint)


@dataclass
class Deployment:
    """A copy of the configuration, and what is applied of it."""

    folder: Path
    aws: Aws

    def terraform(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
        """What terraform prints, of an error the error; a status not ``ok`` fails the test."""
        result = subprocess.run(
            ["terraform", *arguments, "-no-color"],
            cwd=self.folder,
            env=environment(self.aws.endpoint),
            capture_output=True,
            text=True,
            check=False,
        )
        said = f"terraform {' '.join(arguments)}\n{result.stdout}\n{result.stderr}"
        assert result.returncode in ok, said
        return result.stderr if result.returncode == 1 else result.stdout

    def apply(self, **variables: Any) -> None:
        """Apply with these variables and nothing else; they are kept for the next plan.

        What is there is not looked at again: `expect_empty_plan` does that, after each apply.
        """
        (self.folder / "test.auto.tfvars.json").write_text(json.dumps(variables))
        self.terraform("apply", "-auto-approve", "-input=false", "-refresh=false")

    def expect_empty_plan(self) -> None:
        """Fail the test, with the plan, if a further apply would change anything."""
        self.terraform("plan", "-input=false", "-detailed-exitcode")

    def outputs(self) -> dict[str, Any]:
        """Values of the outputs."""
        state = json.loads((self.folder / "terraform.tfstate").read_text())
        return {name: output["value"] for name, output in state["outputs"].items()}

    def destroy(self) -> None:
        """Destroy everything, as it was applied."""
        self.terraform("destroy", "-auto-approve", "-input=false", "-refresh=false")


def prepare(folder: Path, aws: Aws, *, lifecycle: bool) -> Deployment:
    """Copy what Terraform reads of the repository, and initialise it."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not on the PATH")
    override = LOCAL_STATE if lifecycle else LOCAL_STATE + NO_LIFECYCLE
    deployment = Deployment(copy_configuration(folder, override), aws)
    plugins = os.environ.get("TF_PLUGIN_DIR")
    options = [f"-plugin-dir={plugins}"] if plugins else []
    try:
        deployment.terraform("init", "-input=false", *options)
    except AssertionError as error:
        # Nothing else keeps a newcomer's tests from passing: make test-all asks for it first.
        if "Failed to query available provider packages" not in str(error):
            raise
        pytest.skip("terraform init cannot reach the registry of its AWS provider")
    return deployment

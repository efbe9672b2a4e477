"""The real Terraform configuration, applied to an AWS of this machine."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.errors import CommandError

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAM = "terraform"
# The state stays beside the copy; S3's lifecycle takes the provider a minute to be sure of.
LOCAL_STATE = 'terraform {\n  backend "local" {}\n}\n'
NO_LIFECYCLE = 'resource "aws_s3_bucket_lifecycle_configuration" "this" {\n  for_each = {}\n}\n'
_NO_PROVIDER = "Failed to query available provider packages"
_READ = ("terraform", "glue_jobs", "crawlers")


class TerraformError(CommandError):
    """Terraform refuses."""


class NoTerraformError(CommandError):
    """The program or its AWS provider cannot be had."""


def copy_configuration(folder: Path, override: str) -> Path:
    """Copy what Terraform reads of the repository; return the folder to run it in.

    Args:
        folder: Gets the copy.
        override: What the copy says otherwise.
    """
    hidden = shutil.ignore_patterns(".terraform*", "*.tfstate*", "__pycache__", "*_override.tf")
    for name in _READ:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=hidden)
    (folder / "terraform" / "local_override.tf").write_text(override)
    return folder / "terraform"


def environment(aws: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment for Terraform, with every AWS client sent to one place.

    Args:
        aws: The environment variables that do so.
        variables: Terraform's.
    """
    # A machine's own Terraform settings could name another provider mirror.
    kept = {k: v for k, v in os.environ.items() if k != "TF_CLI_CONFIG_FILE"}
    return {
        **{k: v for k, v in kept.items() if not k.startswith(("AWS_", "TF_VAR_"))},
        **aws,
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        # Memory for time: a fifth of what the provider does is collecting garbage of its schema.
        "GOGC": "400",
        **{f"TF_VAR_{name}": value for name, value in variables.items()},
    }


def apply(folder: Path, given: Mapping[str, str]) -> dict[str, Any]:
    """Initialise and apply; return the values of the outputs.

    Args:
        folder: Of the configuration.
        given: The whole environment.

    Raises:
        NoTerraformError: If the program or its provider cannot be had.
        TerraformError: If the apply fails.
    """
    if shutil.which(PROGRAM) is None:
        raise NoTerraformError("terraform is not on the PATH")
    plugins = given.get("TF_PLUGIN_DIR")
    options = [f"-plugin-dir={plugins}"] if plugins else []
    try:
        _run(folder, given, "init", "-input=false", *options)
    except TerraformError as error:
        if _NO_PROVIDER not in str(error):
            raise
        raise NoTerraformError("terraform init cannot have its AWS provider") from error
    _run(folder, given, "apply", "-auto-approve", "-input=false")
    state = json.loads((folder / "terraform.tfstate").read_text())
    return {name: output["value"] for name, output in state["outputs"].items()}


def _run(folder: Path, given: Mapping[str, str], *arguments: str) -> None:
    result = subprocess.run(
        [PROGRAM, *arguments, "-no-color"],
        cwd=folder,
        env=dict(given),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise TerraformError(f"terraform {arguments[0]}: {result.stderr.strip()}")

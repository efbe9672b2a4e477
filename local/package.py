"""Package what Glue runs beside the job scripts, so that the same input gives the same bytes.

``build/totelake.zip``: the library, for ``--extra-py-files``.
``build/totelake.gluewheels.zip``: the third-party wheels that Glue lacks, with their list, for
``--additional-python-modules``; Glue installs them without an index.

Use: ``python -m local.package``.
"""

import argparse
import re
import subprocess  # nosec B404
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from local.errors import CommandError
from local.front_end import front_end

REPOSITORY = Path(__file__).resolve().parent.parent
# What the jobs import and neither Glue 5.1 nor 6.0 has, with the dependencies that Glue lacks too.
# pg8000 also needs python-dateutil and six, which every Glue has.
NOT_ON_GLUE = ("pg8000", "scramp", "asn1crypto")
# Zip's own zero: a file's time says nothing about its content.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class PackageError(CommandError):
    """The packages cannot be made."""


def pins(requirements: str) -> list[str]:
    """The pinned requirement of each package that Glue lacks, from a requirements file's text.

    Raises:
        ValueError: If one of them has no pin there.
    """
    found = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", requirements, re.MULTILINE))
    missing = [name for name in NOT_ON_GLUE if name not in found]
    if missing:
        raise ValueError(
            f"expected a pin name==version for {', '.join(NOT_ON_GLUE)}, found none for "
            f"{', '.join(missing)}; compile requirements.txt again"
        )
    return [f"{name}=={found[name]}" for name in NOT_ON_GLUE]


def library_files(glue_jobs: Path) -> list[tuple[str, bytes]]:
    """Name in the zip and content of every module of the library."""
    return [
        (str(path.relative_to(glue_jobs)), path.read_bytes())
        for path in glue_jobs.glob("totelake/**/*.py")
    ]


def write_zip(target: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip whose bytes depend on the names and contents alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # Unix, wherever this runs
            # Stored: how well deflate compresses depends on the zlib at hand.
            info.compress_type = zipfile.ZIP_STORED
            archive.writestr(info, content)


def download(requirements: list[str], folder: Path) -> list[Path]:
    """Download the pure-Python wheels of pinned requirements, without their dependencies.

    Raises:
        PackageError: If pip fails.
    """
    # Only wheels for any platform and any Python 3: what is built here runs on every Glue.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--platform=any", "--dest", str(folder), *requirements]
    result = subprocess.run(command, check=False, capture_output=True, text=True)  # nosec B603
    if result.returncode != 0:
        raise PackageError(
            f"expected pip to download {', '.join(requirements)}, found: {result.stderr.strip()}"
        )
    return sorted(folder.glob("*.whl"))


def wheel_files(wheels: Iterable[Path], requirements: list[str]) -> list[tuple[str, bytes]]:
    """Name in the zip and content of each wheel, and the list that Glue installs them by."""
    listing = ("wheels/requirements.txt", ("\n".join(requirements) + "\n").encode())
    return [listing, *((f"wheels/{wheel.name}", wheel.read_bytes()) for wheel in wheels)]


def build(into: Path) -> list[Path]:
    """Write both packages into a folder; return them.

    Raises:
        PackageError: If the wheels cannot be downloaded.
    """
    library, wheels_zip = into / "totelake.zip", into / "totelake.gluewheels.zip"
    requirements = pins((REPOSITORY / "requirements.txt").read_text())
    write_zip(library, library_files(REPOSITORY / "glue_jobs"))
    with tempfile.TemporaryDirectory() as folder:
        wheels = download(requirements, Path(folder))
        write_zip(wheels_zip, wheel_files(wheels, requirements))
    return [library, wheels_zip]


def main(argv: list[str] | None = None) -> int:
    """Write both packages into a folder, and say so; return the exit status."""
    parser = argparse.ArgumentParser(description="Package the library and its wheels for Glue.")
    parser.add_argument("--into", type=Path, default=REPOSITORY / "build")
    into: Path = parser.parse_args(argv).into

    def write(console: Console) -> int:
        for path in build(into):
            console.print(f"{path}: {path.stat().st_size:,} bytes", soft_wrap=True)
        return 0

    return front_end(write, "`make package` starts anew.")


if __name__ == "__main__":
    sys.exit(main())

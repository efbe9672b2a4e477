"""`make audit`: packages with known vulnerabilities, and which ones nobody could be asked about.

pip-audit asks the package index. One that is a mirror may know no vulnerabilities at all: such
packages are named, so that "none known" is never taken for "none asked". ``--strict`` fails then.
"""

import argparse
import json
import subprocess  # nosec B404
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
_SHOWN = 5


def vulnerabilities(dependencies: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for each known vulnerability, with the versions that mend it."""
    return [
        f"{package['name']} {package['version']}: {found['id']}, mended in "
        f"{', '.join(found['fix_versions']) or 'no version yet'}"
        for package in dependencies
        for found in package.get("vulns", [])
    ]


def unchecked(dependencies: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the packages that could not be asked about."""
    return [package["name"] for package in dependencies if "skip_reason" in package]


def report(dependencies: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to say of an audit, line by line."""
    bad, unknown = vulnerabilities(dependencies), unchecked(dependencies)
    checked = len(dependencies) - len(unknown)
    lines = [*bad, f"{checked} of {len(dependencies)} packages checked, {len(bad)} vulnerabilities"]
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        lines.append(f"not checked, the index tells nothing of {', '.join(unknown[:_SHOWN])}{more}")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Audit the pinned packages; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail on what cannot be checked")
    strict = parser.parse_args(argv).strict
    files = [word for name in _REQUIREMENTS for word in ("--requirement", name)]
    options = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
    command = [sys.executable, "-m", "pip_audit", *options, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stdout:
        dependencies = json.loads(done.stdout)["dependencies"]
        lines = report(dependencies)
        failed = bool(vulnerabilities(dependencies) or (strict and unchecked(dependencies)))
    else:
        lines = ["nothing checked: " + " ".join(done.stderr.strip().splitlines()[-1:])]
        failed = strict
    print(*(f"pip-audit: {line}" for line in lines), sep="\n")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

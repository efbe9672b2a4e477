"""Generate the page of Terraform's inputs and outputs from what the configuration declares.

Use: ``python -m local.terraform_docs`` writes the page, with ``--check`` it compares.
"""

import argparse
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

TERRAFORM = Path(__file__).resolve().parent.parent / "terraform"
PAGE = TERRAFORM / "README.md"
# A block at the margin: terraform fmt puts its closing brace there too.
_BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
_HEREDOC = re.compile(r"^  description = <<-EOT\n(.*?)^  EOT$", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r'^  description = "(.*)"$', re.MULTILINE)
_ARGUMENT = re.compile(r"^  (type|default)\s+= (.*?)(?=^  [a-z]|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A variable or an output, as declared."""

    name: str
    description: str
    type: str = ""
    default: str | None = None


def blocks(kind: str, text: str) -> list[Block]:
    """The variables or the outputs of a file, in its order.

    Raises:
        ValueError: If one has no description.
    """
    found = []
    for block_kind, name, body in _BLOCK.findall(text):
        if block_kind != kind:
            continue
        description = _HEREDOC.search(body) or _LINE.search(body)
        if description is None:
            raise ValueError(f"{kind} {name}: expected a description, found none; write one")
        rest = _HEREDOC.sub("", body)
        arguments = {key: value.strip() for key, value in _ARGUMENT.findall(rest)}
        found.append(
            Block(
                name,
                textwrap.dedent(description[1]).strip().replace('\\"', '"'),
                arguments.get("type", ""),
                arguments.get("default"),
            )
        )
    return found


def document(variables: str, outputs: str) -> str:
    """The whole page."""
    origin = "Generated from `variables.tf` and `outputs.tf` by `make tf-docs`."
    link = "How to deploy: [docs/deploy.md](../docs/deploy.md)."
    lines = ["# Inputs and outputs", "", f"{origin} {link}", "", "## Inputs"]
    for block in blocks("variable", variables):
        default = "required" if block.default is None else f"default `{_inline(block.default)}`"
        kind = textwrap.dedent(f"  {block.type}")
        lines += ["", f"### {block.name}", "", block.description, "", f"{default}, type:", ""]
        lines += ["```hcl", kind, "```"]
    lines += ["", "## Outputs", ""]
    lines += [f"- `{block.name}`: {block.description}" for block in blocks("output", outputs)]
    return "\n".join(lines) + "\n"


def _inline(value: str) -> str:
    return " ".join(value.split())


def main(argv: list[str] | None = None) -> None:
    """Write the page, or with ``--check`` end with status 1 if it is not what it should be."""
    parser = argparse.ArgumentParser(description="Generate terraform/README.md.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args(argv).check
    page = document(
        (TERRAFORM / "variables.tf").read_text(), (TERRAFORM / "outputs.tf").read_text()
    )
    if not check:
        PAGE.write_text(page)
    elif not PAGE.exists() or PAGE.read_text() != page:
        sys.exit(f"{PAGE.name} differs from variables.tf and outputs.tf: run make tf-docs")


if __name__ == "__main__":
    main()

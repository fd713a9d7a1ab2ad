"""`python -m tools.dev.release v1.2.3`: whether everything names this version, and what the changelog says of it.

The release workflow runs it, on any Python and without packages.
"""

from __future__ import annotations

import re
import sys

from .common import ROOT, DevError


def notes(tag: str) -> str:
    """The section of CHANGELOG.md for the version of a tag, without its heading.

    Raises DevError where the tag, pyproject.toml and the changelog don't name the same version, or where the changelog gives
    it no date.
    """
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    if tag != f"v{version}":
        raise DevError(f"The tag is {tag}, and pyproject.toml has version {version}: tag v{version}, or set the version.")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(rf"^## \[{re.escape(version)}\] - (.*?)\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not section:
        raise DevError(f"CHANGELOG.md has no section for {version}. It begins with: ## [{version}] - YYYY-MM-DD")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", section[1]):
        raise DevError(f"CHANGELOG.md says {section[1]!r} of {version}: put the date of the release there, as YYYY-MM-DD.")
    if not section[2].strip():
        raise DevError(f"The section for {version} in CHANGELOG.md is empty.")
    return section[2].strip() + "\n"


def main() -> int:
    try:
        print(notes(*sys.argv[1:]), end="")
    except DevError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

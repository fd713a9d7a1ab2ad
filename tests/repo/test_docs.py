"""The project's own pages: every link in them leads to a file, a folder or a heading that is there."""

import re

import pytest

from pack import ROOT
from pages import broken

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("", "docs", "tools/benchmarks", "models/tiny")
    for path in (ROOT / folder).glob("*.md")
)


def test_the_pages_are_found():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "models/tiny/README.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert list(broken(ROOT / page)) == []


def test_links_into_the_repository_lead_somewhere():
    """What the registry ships names the rest of the repository by its address, and so do the icon and the banner."""
    repository = re.search(
        r'^Repository = "https://github.com/(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M
    )[1]
    address = re.compile(rf"{repository}/(?:(?:blob|raw|tree)/)?main/([^)#\s\"']+)")
    named = {file: address.findall((ROOT / file).read_text(encoding="utf-8")) for file in (*PAGES, "pyproject.toml")}
    assert len(named["README.md"]) >= 3
    assert {(file, name) for file, names in named.items() for name in names if not (ROOT / name).exists()} == set()


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    links = "[a](page.md) [b](#a-heading) [c](gone.md) [d](page.md#other) [e](#other)"
    page.write_text(f"# A heading\n\n{links}\n", encoding="utf-8")
    assert list(broken(page)) == ["gone.md", "page.md#other", "#other"]

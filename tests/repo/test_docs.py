"""The project's own pages: every link in them leads to a file, a folder or a heading that is there."""

import re

import pytest

from pack import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("", "docs", "tools/benchmarks", "models/tiny")
    for path in (ROOT / folder).glob("*.md")
)
FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


def text_of(path):
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    """The headings of a page as GitHub's links name them."""
    headings = re.findall(r"^#+ (.*)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page):
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text_of(page)):
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (heading and heading not in anchors(file)):
            yield target


def test_the_pages_are_found():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "models/tiny/README.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert list(broken(ROOT / page)) == []


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    links = "[a](page.md) [b](#a-heading) [c](gone.md) [d](page.md#other) [e](#other)"
    page.write_text(f"# A heading\n\n{links}\n", encoding="utf-8")
    assert list(broken(page)) == ["gone.md", "page.md#other", "#other"]

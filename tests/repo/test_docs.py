"""The project's own pages: every link in them leads to a file, a folder or a heading that is there."""

import ast
import re

import pytest

from pack import ROOT
from pages import broken

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("", "docs", "tools/benchmarks", "tools/gpu", "models/tiny")
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


HOST = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "nodes", "server"}  # modules of ComfyUI's


def relied_on():
    """(code, tests) of each row of architecture.md's table of what we rely on in ComfyUI, and the table's text."""
    section = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## What we rely on in ComfyUI\n")[2]
    table = section.partition("\n## ")[0].partition("|---|---|---|\n")[2]
    rows = [line.strip("| ").split(" | ") for line in table.strip().splitlines()]
    return [(re.findall(r"`([^`]+)`", code), re.findall(r"`([^`]+)::([^`]+)`", tests)) for _, code, tests in rows], table


def test_what_we_rely_on_in_comfyui_is_where_it_says_and_tested():
    rows, _ = relied_on()
    for code, tests in rows:
        assert code and tests
        for name in code:
            assert (ROOT / ("" if "/" in name else "nodes/host/sampling") / name).is_file(), name
        for file, test in tests:
            assert f"def {test}(" in (ROOT / "tests/host/sampling" / file).read_text(encoding="utf-8"), test


def test_all_of_comfyui_that_is_imported_is_listed():
    files, (_, table) = (ROOT / "nodes").rglob("*.py"), relied_on()
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    wanted = {module for module in imported if module.split(".")[0] in HOST}
    assert len(wanted) > 10 and {module for module in wanted if f"`{module}" not in table} == set()

"""The project's own pages: every link in them leads to a file, a folder or a heading that is there."""

import ast
import re

import pytest
import yaml

from facegen.standalone.cli.main import main
from facegen.standalone.cli.verify.trial import FILES as VERIFY_FILES
from facegen.standalone.cli.verify.ways import WAYS
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


def test_the_form_for_a_report_of_verify_asks_for_what_it_writes():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/verify_report.yml").read_text(encoding="utf-8"))
    asked = {part["attributes"]["label"]: part.get("validations", {}) for part in form["body"] if part["type"] == "textarea"}
    assert set(VERIFY_FILES) <= asked.keys()
    assert all(asked[name].get("required") for name in VERIFY_FILES if not name.endswith(".json"))
    page = (ROOT / "docs/verify.md").read_text(encoding="utf-8")
    for text in ((ROOT / "README.md").read_text(encoding="utf-8"), page):
        assert "issues/new?template=verify_report.yml" in text
    for name in (*VERIFY_FILES, *WAYS):
        assert f"`{name}`" in page


def test_the_page_of_verify_has_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["verify", "--help"])
    options = set(re.findall(r"(--[a-z]+)", capsys.readouterr().out)) - {"--help", "--models"}
    page = (ROOT / "docs/verify.md").read_text(encoding="utf-8").partition("## Options")[2]
    assert len(options) == 7 and {option for option in options if f"`{option}" not in page} == set()

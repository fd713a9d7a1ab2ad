"""What a release is made of: one version, a changelog in its form, and a package that lacks nothing."""

import re

from pack import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
VERSION = re.search(r'^version = "(.+)"', PROJECT, re.MULTILINE)[1]
HEADINGS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_has_keep_a_changelog_s_form_and_this_version_first():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert all(re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d|Unreleased)", v) for v in versions)
    assert versions[0].startswith(f"[{VERSION}]")
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= HEADINGS
    assert "keepachangelog.com" in text and "semver.org" in text


def test_the_version_stands_in_one_place():
    suffixes = {".py", ".toml", ".yml", ".cfg"}
    skipped = {".venv", "tests", ".git"}
    files = [path for path in ROOT.rglob("*") if path.suffix in suffixes and path.is_file()]
    named = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if not skipped & set(path.relative_to(ROOT).parts) and not path.relative_to(ROOT).parts[0].startswith(".venv")
        if re.search(r"version\S* *= *[\"']" + re.escape(VERSION), path.read_text(encoding="utf-8"))
    ]
    assert named == ["pyproject.toml"]


def test_registry_and_manager_are_told_the_same_requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    dependencies = re.search(r"^dependencies = \[(.*?)\]", PROJECT, re.M | re.S)[1]
    assert lines == re.findall(r'"(.+?)"', dependencies)
    assert [line for line in lines if not re.fullmatch(r"[a-z]+(>=[\d.]+)?", line)] == []  # no option, no ceiling


def test_no_shell_script_is_in_the_user_s_way():
    """Everything that a user runs is Python; .ci/run is continuous integration's, and what is in tools is for developers."""
    scripts = [p.relative_to(ROOT).parts for p in ROOT.rglob("*.sh")]
    assert [parts for parts in scripts if parts[0] != "tools" and not any(part.startswith(".") for part in parts)] == []

"""What tests take from tests/support is there: without ComfyUI, the tests that run inside it would not tell."""

import ast

from pack import ROOT

TESTS = ROOT / "tests"
SUPPORT = {file.stem: file for file in (TESTS / "support").rglob("*.py")}


def given(file):
    """The names at the top of a module."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        else:
            yield from (part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))


def taken(source):
    """(line, module of tests/support, name) of each import from one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module in SUPPORT:
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)


def test_what_tests_import_from_support_is_there():
    names = {module: set(given(path)) for module, path in SUPPORT.items()}
    missing = [
        f"{file.relative_to(TESTS).as_posix()}:{line} {module}.{name}"
        for file in sorted(TESTS.rglob("*.py"))
        for line, module, name in taken(file.read_text(encoding="utf-8"))
        if name not in names[module]
    ]
    assert missing == []


def test_a_name_that_is_not_there_is_seen():
    assert list(taken("from pack import ROOT, NOTHING")) == [(1, "pack", "ROOT"), (1, "pack", "NOTHING")]
    assert "ROOT" in set(given(SUPPORT["pack"])) and "NOTHING" not in set(given(SUPPORT["pack"]))

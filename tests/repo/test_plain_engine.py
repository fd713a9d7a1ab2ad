"""The engine says what is wrong, nodes and commands say what to click or type: no text of models/, api/, contract.py or
errors.py names a node, a command line option, a menu or a key to press."""

import ast
import re

import pytest

from node_source import nodes_in_source, of_schema
from pack import ROOT

ENGINE = sorted([*(ROOT / "models").rglob("*.py"), *(ROOT / "api").rglob("*.py"), ROOT / "contract.py", ROOT / "errors.py"])
OURS = {name.removesuffix(" (FaceGen)") for name in nodes_in_source(of_schema("display_name")).values()}
STOCK = {
    "Load Checkpoint",
    "Load CLIP Vision",
    "Load Image",
    "Split Image with Alpha",
    "Convert Image to Mask",
    "Convert Mask to Image",
}
OTHER = [
    r"ComfyUI",
    r"\bpress\b",
    r"\bclick\b",
    r"\bnode\b",
    r"\bsocket\b",
    r"\bmenu\b",
    r"\bconnect\b",
    r"(?<![\w-])--[a-z]\w+",
]
NAMED = re.compile("|".join([*map(re.escape, sorted(OURS | STOCK, key=len, reverse=True)), *OTHER]))
# A name that programs are told, not a person; and what ComfyUI's own folder is called where its layout is described.
ALLOWED = {"ComfyUI-FaceGen"}


def texts(source):
    """(line, text) of every text that the code can show: no docstrings, and none of the texts that are compared with."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def advice(source):
    return [f"{line}: {text}" for line, text in texts(source) if text not in ALLOWED and NAMED.search(text)]


@pytest.mark.parametrize("file", ENGINE, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_the_engine_gives_no_advice_on_what_to_click_or_type(file):
    assert advice(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    ["Make them in the Embed Face node.", "Choose it in Load Face Analyzer.", "Give it with --models DIR.", "Then press R."],
)
def test_advice_is_seen(text):
    assert advice(f"raise FaceGenError({text!r})")
    assert advice(f'"""{text}"""') == []  # docstrings are for developers

"""Help pages: one for every node, naming every socket of it. The nodes are read from their source, without ComfyUI."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "web" / "docs"


def keyword(call, name):
    return next((k.value for k in call.keywords if k.arg == name), None)


def sockets(calls):
    """Names in `io.X.Input("name", …)` and `io.X.Output(display_name="name", …)` calls."""
    inputs = [call.args[0] for call in calls if getattr(call.func, "attr", "") == "Input"]
    outputs = [keyword(call, "display_name") for call in calls if getattr(call.func, "attr", "") == "Output"]
    return [ast.literal_eval(name) for name in inputs + outputs]


def nodes_in_source(read):
    """Node id -> read(calls in its define_schema), for every define_schema in nodes/."""
    nodes = {}
    for path in sorted((ROOT / "nodes").glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name == "define_schema":
                calls = [n for n in ast.walk(function) if isinstance(n, ast.Call)]
                (node_id,) = (ast.literal_eval(value) for call in calls if (value := keyword(call, "node_id")))
                nodes[node_id] = read(calls)
    return nodes


def description(calls):
    """The first sentence of io.Schema(description=…)."""
    (schema,) = (call for call in calls if getattr(call.func, "attr", "") == "Schema")
    return re.match(r".*?[.](?=\s|$)", ast.literal_eval(keyword(schema, "description")), re.DOTALL)[0]


NODES = nodes_in_source(sockets)


def test_pages_and_nodes_are_the_same():
    assert len(NODES) >= 8 and all(NODES.values())
    assert {page.stem for page in DOCS.iterdir()} == set(NODES)  # <node id>.md, or a folder of that name with translations


@pytest.mark.parametrize("node_id", NODES)
def test_page_names_every_socket(node_id):
    page = (DOCS / f"{node_id}.md").read_text(encoding="utf-8")
    assert [name for name in NODES[node_id] if f"`{name}`" not in page] == []


def test_comfyui_manager_is_told_of_every_node():
    """node_list.json, which Manager reads to find the pack that a workflow lacks: node id -> what it does."""
    told = json.loads((ROOT / "node_list.json").read_text(encoding="utf-8"))
    assert told == dict(sorted(nodes_in_source(description).items()))

"""The nodes as their source states them, for tests that run without ComfyUI, and their names in other languages."""

import ast
import json
import re
from collections import Counter
from functools import cache

from pack import ROOT

LOCALES = ROOT / "locales"
LANGUAGES = ("zh", "ja")  # English is the code's own: the front end takes it where it finds no text of its language


def keyword(call, name):
    return next((k.value for k in call.keywords if k.arg == name), None)


def _named(calls, kind):
    return [call for call in calls if getattr(call.func, "attr", "") == kind]


def inputs(calls):
    """Names in `io.X.Input("name", …)` calls."""
    return [ast.literal_eval(call.args[0]) for call in _named(calls, "Input")]


def outputs(calls):
    """(name, whether it has a tooltip) of `io.X.Output(display_name="name", …)` calls."""
    return [
        (ast.literal_eval(keyword(call, "display_name")), keyword(call, "tooltip") is not None)
        for call in _named(calls, "Output")
    ]


def sockets(calls):
    return inputs(calls) + [name for name, _ in outputs(calls)]


@cache
def _schemas():
    """Node id -> the calls in its define_schema, in the order of the source."""
    found = {}
    for path in sorted((ROOT / "nodes").glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name == "define_schema":
                calls = [n for n in ast.walk(function) if isinstance(n, ast.Call)]
                calls.sort(key=lambda call: (call.lineno, call.col_offset))  # ast.walk goes by depth
                (node_id,) = (ast.literal_eval(value) for call in calls if (value := keyword(call, "node_id")))
                found[node_id] = calls
    return found


def nodes_in_source(read):
    """Node id -> read(calls in its define_schema)."""
    return {node_id: read(calls) for node_id, calls in _schemas().items()}


def of_schema(name):
    """Reads one text of `io.Schema(…)`, such as its description."""

    def read(calls):
        (schema,) = _named(calls, "Schema")
        return ast.literal_eval(keyword(schema, name))

    return read


def numbers(text):
    """How often each number stands in the text."""
    return Counter(re.findall(r"\d+(?:\.\d+)?", text))


def sentence(text):
    """The first one."""
    return re.match(r".*?[.](?=\s|$)", text, re.DOTALL)[0]


def first_sentence(calls):
    return sentence(of_schema("description")(calls))


@cache
def locale(language, file):
    return json.loads((LOCALES / language / f"{file}.json").read_text(encoding="utf-8"))


def leaves(tree, path=()):
    """(path, text) of every text in nested objects."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def labels(node_id, language):
    """(name, name in that language) of every input and output."""
    names = locale(language, "nodeDefs")[node_id]
    yield from ((name, one["name"]) for name, one in names.get("inputs", {}).items())
    translated = names.get("outputs", {}).values()
    yield from ((name, one["name"]) for (name, _), one in zip(nodes_in_source(outputs)[node_id], translated, strict=True))

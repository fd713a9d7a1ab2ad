"""Saved workflows as the front end would queue them."""

import json
from pathlib import Path

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NOT_QUEUED = {"MarkdownNote", "Note"}
# Widgets that the front end adds after a widget of the schema.
COMPANIONS = {"control_after_generate", "image_upload"}


def load(name):
    return json.loads((WORKFLOWS / name).read_text(encoding="utf-8"))


def to_api(workflow, object_info):
    """A front-end workflow as the API-format graph: widgets by the schema's order, links by name."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph = {}
    for node in workflow["nodes"]:
        if node["type"] in NOT_QUEUED:
            continue
        info = object_info[node["type"]]["input"]
        specs = info.get("required", {}) | info.get("optional", {})
        values = iter(node.get("widgets_values", []))
        inputs = {}
        for name, spec in specs.items():
            if isinstance(spec[0], list) or spec[0] in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
                inputs[name] = next(values)
                for companion in COMPANIONS & set(spec[1] if len(spec) > 1 else ()):
                    if spec[1][companion]:
                        next(values)
        assert not list(values), f"{node['type']} {node['id']} has more widget values than its schema"
        inputs |= {i["name"]: sources[i["link"]] for i in node["inputs"] if i["link"] is not None}
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph

"""Saved workflows as the front end would queue them."""

import json

from pack import ROOT

WORKFLOWS = ROOT / "workflows"
BLUEPRINTS = ROOT / "subgraphs"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
BLUEPRINT_NAMES = sorted(path.stem for path in BLUEPRINTS.glob("*.json"))
FACE = "facegen_drawn_face.png"  # Load Image's picture in every template; web/js/templates.js puts it into the input folder
NOT_QUEUED = {"MarkdownNote", "Note"}
ALWAYS, NEVER = 0, 2  # modes of a node
# Widgets that the front end adds after a widget of the schema.
COMPANIONS = ("control_after_generate", "image_upload")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
# Photos that tests and thumbnails put in the drawn face's place, by the title of Load Image; for all others face.jpg.
PHOTOS = {
    "Photo 2": "face_2.jpg",
    "Photo 3": "face_3.jpg",
    "Person on the left": "person_left.jpg",
    "Person on the right": "person_right.jpg",
}
INSIDE_INPUT, INSIDE_OUTPUT = -10, -20  # numbers of a subgraph's own two ends


def load(name):
    return json.loads((WORKFLOWS / name).read_text(encoding="utf-8"))


def blueprint(name):
    return json.loads((BLUEPRINTS / f"{name}.json").read_text(encoding="utf-8"))


def with_photos(graph):
    """The API-format graph with a photo of its own in each Load Image."""
    for node in graph.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = PHOTOS.get(node["_meta"]["title"], "face.jpg")
    return graph


def schema_inputs(node_type, object_info):
    """Name -> specification, in the front end's order: what is required, then what is optional."""
    info = object_info[node_type]["input"]
    return info.get("required", {}) | info.get("optional", {})


def kind(spec):
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def widget_order(node_type, object_info):
    """Names of the widgets in the order in which a saved node lists their values."""
    names = []
    for name, spec in schema_inputs(node_type, object_info).items():
        if kind(spec) in WIDGETS:
            names += [name, *(c for c in COMPANIONS if len(spec) > 1 and spec[1].get(c))]
    return names


def widget_values(node, object_info):
    """Name -> value of a saved node's widgets."""
    order, values = widget_order(node["type"], object_info), node.get("widgets_values", [])
    assert len(values) <= len(order), f"{node['type']} {node['id']} has more widget values than its schema"
    return {name: value for name, value in zip(order, values, strict=False) if name not in COMPANIONS}


def to_api(workflow, object_info):
    """A front-end workflow as the API-format graph: widgets by the schema's order, links by name, subgraphs unfolded."""
    definitions = {d["id"]: d for d in workflow.get("definitions", {}).get("subgraphs", ())}
    queued = [n for n in workflow["nodes"] if n["type"] not in NOT_QUEUED and n["mode"] == ALWAYS]
    graph, sources = {}, {}
    instances = {node["id"]: definitions[node["type"]] for node in queued if node["type"] in definitions}
    for number, origin, slot, *_ in workflow["links"]:
        if origin in instances:
            origin, slot = _end_inside(instances[origin], origin, slot)
        sources[number] = [str(origin), slot]
    for node in queued:
        if node["id"] in instances:
            graph |= _unfold(node, instances[node["id"]], sources, object_info)
        else:
            graph[str(node["id"])] = _api_node(node, sources, object_info)
    return graph


def _api_node(node, sources, object_info):
    linked = {i["name"]: sources[i["link"]] for i in node["inputs"] if i["link"] in sources}
    return {"class_type": node["type"], "inputs": widget_values(node, object_info) | linked}


def _end_inside(definition, instance, slot):
    """Number and output of the inner node that a subgraph's output comes from."""
    (link,) = (n for n in definition["links"] if n["target_id"] == INSIDE_OUTPUT and n["target_slot"] == slot)
    return f"{instance}:{link['origin_id']}", link["origin_slot"]


def _unfold(instance, definition, sources, object_info):
    """The nodes of a subgraph, numbered <instance>:<node>, with what its instance is given."""
    given = {
        name: value for (_, name), value in zip(instance["properties"]["proxyWidgets"], instance["widgets_values"], strict=True)
    }
    given |= {i["name"]: sources[i["link"]] for i in instance["inputs"] if i["link"] in sources}
    inside = {}
    for link in definition["links"]:
        if link["origin_id"] == INSIDE_INPUT:
            name = definition["inputs"][link["origin_slot"]]["name"]
            if name in given:
                inside[link["id"]] = given[name]
        else:
            inside[link["id"]] = [f"{instance['id']}:{link['origin_id']}", link["origin_slot"]]
    return {f"{instance['id']}:{node['id']}": _api_node(node, inside, object_info) for node in definition["nodes"]}

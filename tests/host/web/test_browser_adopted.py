"""A graph with another pack's nodes in ComfyUI's own front end: opened, replaced by a click, queued."""

import pytest

import old_graphs
from facegen.adoption.adopt import adopt_graph
from facegen.adoption.which import OLD
from front_end import shot, wait_for_pictures
from small_runs import Done, apart, put_photos

pytestmark = pytest.mark.usefixtures("alone")
OPEN = "graph => app.loadGraphData(graph, true, true, 'old')"
TYPES = "() => app.graph._nodes.map(node => node.type)"
STATE = """() => app.graph._nodes.filter(node => node.type.startsWith('FaceGenAdopted')).map(node => ({
    type: node.type, id: node.id, pos: [...node.pos],
    widgets: Object.fromEntries((node.widgets ?? []).map(one => [one.name, one.value])),
    linked: node.inputs.filter(one => one.link != null).map(one => one.name),
}))"""


@pytest.fixture(scope="module")
def replacing(server):
    try:
        server.get("/node_replacements")
    except RuntimeError:
        pytest.skip("this ComfyUI replaces no nodes")


@pytest.fixture(scope="module")
def files(server, page, sdxl, flux):
    """A photo, and model files that came after the page was opened."""
    put_photos(server.base / "input")
    page.evaluate("() => app.refreshComboInNodes()")


def replace_all(page, name):
    """As a user does: the message's button opens the list of what is wrong, and there is Replace All."""
    overlay = page.get_by_test_id("error-overlay-see-errors")
    overlay.first.wait_for(timeout=20_000)
    overlay.first.click()
    button = page.get_by_role("button", name="Replace All")
    button.first.wait_for(timeout=20_000)
    shot(page, f"old-{name}")
    button.first.click()
    page.wait_for_function(f"() => !({TYPES})().some(type => {list(OLD)}.includes(type))", timeout=20_000)


APPLY = {"weight_faceidv2": 1.7, "weight_type": "ease out", "combine_embeds": "average", "start_at": 0, "end_at": 0.9}
APPLY |= {"embeds_scaling": "K+V"}
V_ONLY = {"embeds_scaling": "V only"}
INSTANTID = {"cn_strength": 0.5, "start_at": 0, "end_at": 0.9, "noise": 0.2, "combine_embeds": "concat"}
WHOLE = {"start_at": 0, "end_at": 1}
FLUX_DEFAULTS = {"fusion": "mean", "fusion_weight_max": 1, "fusion_weight_min": 0, "train_step": 1000, "use_gray": True}
# Name -> the graph for a weight, the name of that weight, other values that the new node has, its inputs that are connected.
GRAPHS = {
    "faceid": (
        lambda weight: old_graphs.by_preset(widgets=[weight, *APPLY.values()]),
        "weight",
        APPLY,
        ["model", "ipadapter", "image"],
    ),
    "faceid-older": (
        old_graphs.by_preset_older,
        "weight",
        {**APPLY, "weight_faceidv2": 1.3, "weight_type": "linear", "combine_embeds": "concat", "end_at": 1} | V_ONLY,
        ["model", "ipadapter", "image"],
    ),
    "faceid-first": (
        old_graphs.first_faceid,
        "weight",
        {"noise": 0.25, "weight_type": "original", **WHOLE, "faceid_v2": True, "weight_v2": 1, "unfold_batch": False},
        ["ipadapter", "clip_vision", "insightface", "image", "model"],
    ),
    "instantid": (
        lambda weight: old_graphs.instantid(kind="ApplyInstantIDAdvanced", widgets=[weight, *INSTANTID.values()], pose=(13, 0)),
        "ip_weight",
        INSTANTID,
        ["instantid", "insightface", "control_net", "image", "model", "positive", "negative", "image_kps"],
    ),
    "pulid": (
        lambda weight: old_graphs.pulid(widgets=["style", weight, 0.0, 1.0]),
        "weight",
        {"method": "style", **WHOLE},
        ["model", "pulid", "eva_clip", "face_analysis", "image"],
    ),
    "pulid-flux": (
        lambda weight: old_graphs.pulid_flux([weight, 0.0, 1.0]),
        "weight",
        {**WHOLE, **FLUX_DEFAULTS},
        ["model", "pulid_flux", "eva_clip", "face_analysis", "image"],
    ),
}
WEIGHT = 0.65


@pytest.mark.newest
@pytest.mark.parametrize("name", GRAPHS)
def test_old_nodes_are_replaced_and_make_a_portrait(page, server, replacing, files, name):
    """Opened, replaced, queued; and the face is in the picture, as it is another one without it."""
    if "pulid" in name:
        pytest.importorskip("timm")
    make, weight, values, linked = GRAPHS[name]
    graph = make(WEIGHT)
    page.evaluate(OPEN, graph)
    replace_all(page, name)
    old = {node["id"]: node for node in graph["nodes"] if node["type"] in OLD}
    new = {int(node["id"]): node for node in page.evaluate(STATE)}
    assert {number: node["type"] for number, node in new.items()} == {n: OLD[one["type"]].new_id for n, one in old.items()}
    assert {number: node["pos"] for number, node in new.items()} == {n: one["pos"] for n, one in old.items()}
    (apply,) = (node for node in new.values() if weight in node["widgets"])
    assert apply["widgets"] == {weight: WEIGHT, **values} and apply["linked"] == linked
    page.evaluate("() => app.queuePrompt(0, 1)")
    wait_for_pictures(page, "SaveImage", [128, 128])
    shot(page, f"old-{name}-replaced")
    entry = max(server.get("/history").values(), key=lambda one: one["prompt"][0])
    portrait, nobody = Done(server, *entry["prompt"][2:0:-1]), Done(server, old_graphs.to_api(make(0.0)))
    assert portrait.picture().std() > 5 and apart(portrait.picture(), nobody.picture()) > 0.3


@pytest.mark.newest
def test_a_subgraph_that_adopt_rewrote_makes_the_same_portrait(page, server, files):
    graph = old_graphs.nested(old_graphs.by_preset(), {3, 4})
    assert not adopt_graph(graph, native=True).left
    inner = graph["definitions"]["subgraphs"][0]
    (vision,) = (node for node in inner["nodes"] if node["type"] == "CLIPVisionLoader")
    vision["widgets_values"] = ["vit_l.safetensors"]
    page.evaluate(OPEN, graph)
    page.evaluate("() => app.queuePrompt(0, 1)")
    wait_for_pictures(page, "SaveImage", [128, 128])
    entry = max(server.get("/history").values(), key=lambda one: one["prompt"][0])
    portrait, old = Done(server, *entry["prompt"][2:0:-1]), Done(server, old_graphs.to_api(old_graphs.by_preset()))
    assert "FaceGenApplyFaceID" in {node["class_type"] for node in portrait.graph.values()}
    assert portrait.picture().std() > 5 and apart(portrait.picture(), old.picture()) < 0.05


def test_nobody_is_offered_them_for_a_new_graph(page, replacing):
    """Nor on older front ends, which know deprecated nodes as well; there is one search for all."""
    store = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s.get('nodeDef')"
    shown = page.evaluate(f"() => {store}.visibleNodeDefs.map(node => node.name)")
    assert "FaceGenApplyFaceID" in shown and not [name for name in shown if name.startswith("FaceGenAdopted")]
    found = page.evaluate(f"() => {store}.nodeSearchService.searchNode('IPAdapter FaceID', []).map(node => node.name)")
    assert "FaceGenLoadFaceID" in found and not [name for name in found if name.startswith("FaceGenAdopted")]

"""A graph with another pack's nodes in ComfyUI's own front end: opened, replaced by a click, queued."""

import pytest

import old_graphs
from facegen.adoption.which import OLD
from front_end import shot, wait_for_pictures

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


def replace_all(page):
    """As a user does: the message's button opens the list of what is wrong, and there is Replace All."""
    overlay = page.get_by_test_id("error-overlay-see-errors")
    overlay.first.wait_for(timeout=20_000)
    overlay.first.click()
    button = page.get_by_role("button", name="Replace All")
    button.first.wait_for(timeout=20_000)
    shot(page, "old-nodes")
    button.first.click()
    page.wait_for_function(f"() => !({TYPES})().some(type => {list(OLD)}.includes(type))", timeout=20_000)


def test_old_nodes_are_replaced_and_make_a_portrait(page, server, photo, replacing):
    graph = old_graphs.by_preset(widgets=[0.65, 1.7, "ease out", "average", 0.1, 0.9, "K+V"])
    graph["nodes"][1]["widgets_values"] = ["face.png", "image"]
    page.evaluate(OPEN, graph)
    replace_all(page)
    loader, apply = sorted(page.evaluate(STATE), key=lambda node: node["id"])
    assert (loader["type"], apply["type"]) == tuple(
        f"FaceGenAdopted{kind}" for kind in ("IPAdapterUnifiedLoaderFaceID", "IPAdapterFaceID")
    )
    assert loader["widgets"] == {"preset": "FACEID PLUS V2", "lora_strength": 0.6, "provider": "CPU"}
    assert apply["widgets"] == {
        "weight": 0.65,
        "weight_faceidv2": 1.7,
        "weight_type": "ease out",
        "combine_embeds": "average",
        "start_at": 0.1,
        "end_at": 0.9,
        "embeds_scaling": "K+V",
    }
    assert loader["linked"] == ["model"] and apply["linked"] == ["model", "ipadapter", "image"]
    assert [node["pos"] for node in (loader, apply)] == [node["pos"] for node in graph["nodes"][2:4]]
    page.evaluate("() => app.queuePrompt(0, 1)")
    wait_for_pictures(page, "SaveImage", [128, 128])
    shot(page, "old-nodes-replaced")


IID_WIDGETS = {"ip_weight": 0.7, "cn_strength": 0.5, "start_at": 0.1, "end_at": 0.9, "noise": 0.2}
FLUX_DEFAULTS = {"fusion": "mean", "fusion_weight_max": 1, "fusion_weight_min": 0, "train_step": 1000, "use_gray": True}
OTHERS = {
    "instantid": (
        lambda: old_graphs.instantid(kind="ApplyInstantIDAdvanced", widgets=[0.7, 0.5, 0.1, 0.9, 0.2, "concat"], pose=(13, 0)),
        {**IID_WIDGETS, "combine_embeds": "concat"},
        ["instantid", "insightface", "control_net", "image", "model", "positive", "negative", "image_kps"],
    ),
    "pulid": (
        old_graphs.pulid,
        {"method": "style", "weight": 0.9, "start_at": 0, "end_at": 1},
        ["model", "pulid", "eva_clip", "face_analysis", "image"],
    ),
    "pulid flux": (
        lambda: old_graphs.pulid(True, "ApplyPulidFlux", [0.8, 0.2, 1.0]),
        {"weight": 0.8, "start_at": 0.2, "end_at": 1, **FLUX_DEFAULTS},
        ["model", "pulid_flux", "eva_clip", "face_analysis", "image"],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_nodes_of_the_other_methods_are_replaced(page, replacing, name):
    make, widgets, linked = OTHERS[name]
    graph = make()
    page.evaluate(OPEN, graph)
    replace_all(page)
    new = page.evaluate(STATE)
    assert len(new) == sum(node["type"] in OLD for node in graph["nodes"])
    (apply,) = (node for node in new if "Apply" in node["type"])
    assert apply["widgets"] == widgets and apply["linked"] == linked


def test_nobody_is_offered_them_for_a_new_graph(page, replacing):
    """Nor on older front ends, which know deprecated nodes as well; there is one search for all."""
    store = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s.get('nodeDef')"
    shown = page.evaluate(f"() => {store}.visibleNodeDefs.map(node => node.name)")
    assert "FaceGenApplyFaceID" in shown and not [name for name in shown if name.startswith("FaceGenAdopted")]
    found = page.evaluate(f"() => {store}.nodeSearchService.searchNode('IPAdapter FaceID', []).map(node => node.name)")
    assert "FaceGenLoadFaceID" in found and not [name for name in found if name.startswith("FaceGenAdopted")]

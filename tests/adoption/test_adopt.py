"""Saved graphs with other packs' nodes: what is changed, and that nothing else is."""

import copy
import json
import re

import pytest

import old_graphs
from facegen.adoption.adopt import adopt_graph, adopt_prompt
from facegen.adoption.layout import box
from facegen.adoption.native.faceid import layer_weights
from facegen.adoption.native.nodes import NATIVE
from facegen.adoption.ui_graph import NAME
from facegen.adoption.which import OLD
from facegen.errors import FaceGenError
from facegen.models.identity.layer_weights import parse_layer_weights

NEW = {old.id: old.new_id for old in OLD.values()}


def changed(before, after, path=""):
    """Paths at which two parsed files differ."""
    if type(before) is not type(after):
        return {path}
    if isinstance(before, dict):
        keys = {*before, *after}
        return {p for key in keys for p in changed(before.get(key), after.get(key), f"{path}/{key}")}
    if isinstance(before, list):
        if len(before) != len(after):
            return {path}
        return {p for i, pair in enumerate(zip(before, after, strict=True)) for p in changed(*pair, f"{path}/{i}")}
    return set() if before == after else {path}


def decorated(graph):
    """With what people add: a group, a note, another pack's node, colours, a node that is folded or off, unknown entries."""
    graph["groups"].append({"title": "Face", "bounding": [0, 0, 900, 400], "color": "#3f789e"})
    graph["nodes"].append({**old_graphs._node(90, "Note", ["don't touch"]), "color": "#432", "title": "Grüße ☺"})
    graph["nodes"].append({"id": 91, "type": "SomebodysNode", "pos": {"0": 1, "1": 2}, "size": {"0": 3, "1": 4}, "x": [1e-07]})
    graph["nodes"][3] |= {"title": "My face", "flags": {"collapsed": True}, "mode": 4, "bgcolor": "#111"}
    graph["extra"] = {"ds": {"scale": 0.7513148009015777, "offset": [1, 2]}, "0246.VERSION": [0, 0, 4]}
    return graph


ADVANCED = [0.7, 0.5, 0.1, 0.9, 0.2, "concat"]  # widgets of ApplyInstantIDAdvanced
MAKE = {
    "preset": old_graphs.by_preset,
    "parts": old_graphs.by_parts,
    "instantid": old_graphs.instantid,
    "instantid advanced": lambda: old_graphs.instantid(kind="ApplyInstantIDAdvanced", widgets=ADVANCED, pose=(13, 0)),
    "pulid": old_graphs.pulid,
    "pulid advanced": lambda: old_graphs.pulid(kind="ApplyPulidAdvanced", widgets=[0.9, "ortho", 5, 0.0, 0.1, 1.0]),
    "pulid flux": lambda: old_graphs.pulid_flux([0.9, 0.2, 1.0]),
    "pulid flux, enhanced": lambda: old_graphs.pulid_flux([0.9, 0.2, 1.0, "concat", 1.0, 0.0, 1000, True]),
}
EVERY = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


@EVERY
def test_a_saved_graph_keeps_all_but_the_nodes_classes(make):
    graph = decorated(make())
    before = copy.deepcopy(graph)
    adopted = adopt_graph(graph)
    old = {place: node["type"] for place, node in enumerate(before["nodes"]) if node["type"] in OLD}
    assert len(adopted.done) == len(old) >= 2 and not adopted.left and not adopted.notes
    parts = ("type", f"properties/{NAME}", "properties/cnr_id", "properties/ver")
    assert changed(before, graph) == {f"/nodes/{place}/{part}" for place in old for part in parts}
    for place, kind in old.items():
        assert graph["nodes"][place]["type"] == graph["nodes"][place]["properties"][NAME] == NEW[kind]
    old_graphs.check_links({**graph, "nodes": [node for node in graph["nodes"] if node["id"] != 91], "last_node_id": 91})


@EVERY
@pytest.mark.parametrize("wrapped", [False, True])
def test_api_format(make, wrapped):
    prompt = old_graphs.to_api(make())
    before = copy.deepcopy(prompt)
    adopted = adopt_graph({"prompt": prompt, "client_id": "x"} if wrapped else prompt)
    old = {number for number, node in before.items() if node["class_type"] in OLD}
    assert changed(before, prompt) == {f"/{number}/class_type" for number in old} and len(adopted.done) == len(old)


def test_a_prompt_that_is_older_than_an_input_gets_its_default():
    for adopt in (adopt_graph, lambda prompt: adopt_prompt(prompt, lambda _: False)):
        prompt = old_graphs.to_api(old_graphs.by_preset_older())
        assert "embeds_scaling" not in prompt["4"]["inputs"]
        adopt(prompt)
        assert prompt["4"]["inputs"]["embeds_scaling"] == "V only" and prompt["4"]["inputs"]["weight"] == 0.8


def test_a_graph_without_such_nodes_is_left_alone():
    graph = decorated(old_graphs.portrait([], (1, 0)))
    before = copy.deepcopy(graph)
    adopted = adopt_graph(graph)
    assert graph == before and adopted.done == adopted.left == adopted.notes == []


def test_plain_ip_adapters_stay_with_their_pack():
    middle = [
        ("IPAdapterModelLoader", {}, ["ip-adapter-plus_sd15.safetensors"]),
        (
            "IPAdapterAdvanced",
            {"model": (1, 0), "ipadapter": (3, 0), "image": (2, 0)},
            [1.0, "linear", "concat", 0, 1, "V only"],
        ),
    ]
    graph = old_graphs.portrait(middle, (4, 0))
    adopted = adopt_graph(graph)
    assert not adopted.done and len(adopted.left) == 2 and "doesn't seem to be FaceID" in adopted.left[0]
    graph["nodes"][2]["widgets_values"] = ["ip-adapter-faceid-plusv2_sd15.bin"]
    assert len(adopt_graph(graph).done) == 2


def test_nodes_for_faces_that_are_not_adopted_say_which_pack_they_need():
    graph = old_graphs.pulid_flux()
    graph["nodes"][4]["type"] = "PulidFluxFaceNetLoader"
    left = adopt_graph(graph).left
    assert "PulidFluxFaceNetLoader 5: left, because no node here stands in for it. It needs lldacing/" in " ".join(left)
    assert len(left) == 4 and "it works together with PulidFluxFaceNetLoader" in left[0]
    kolors = old_graphs.by_parts()
    kolors["nodes"][5]["type"] = "IPAdapterFaceIDKolors"
    adopted = adopt_graph(kolors)
    assert not adopted.done and "IPAdapterFaceIDKolors 6: left" in adopted.left[-1]


def test_a_node_that_another_pack_still_has_to_serve_keeps_its_family():
    graph = old_graphs.by_preset()
    graph["nodes"][3]["type"] = "IPAdapterEmbedsBatch"
    adopted = adopt_graph(graph)
    assert not adopted.done and "works together with IPAdapterEmbedsBatch" in adopted.left[0]


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("as_api", [False, True], ids=["saved", "api"])
def test_another_release_s_inputs_are_not_lost(native, as_api):
    """ApplyInstantID of the pack's first days had no ControlNet, and other names. What hangs together with it stays, too."""
    graph = old_graphs.instantid()
    apply = graph["nodes"][7]
    names = {"image": "image_features", "image_kps": "attn_mask"}
    for one in apply["inputs"]:
        one["name"] = names.get(one["name"], one["name"])
    graph = old_graphs.to_api(graph) if as_api else graph
    before = copy.deepcopy(graph)
    adopted = adopt_graph(graph, native)
    assert graph == before and not adopted.done and len(adopted.left) == 4
    (own,) = (line for line in adopted.left if line.startswith("ApplyInstantID 8"))
    assert own.endswith("left, because it is of a release of cubiq/ComfyUI_InstantID that had image_features")
    assert sum("works together with ApplyInstantID, which" in line for line in adopted.left) == 3


def test_an_input_of_another_release_that_is_not_connected_is_nothing_to_lose():
    graph = old_graphs.instantid()
    graph["nodes"][7]["inputs"].append({"name": "attn_mask", "type": "MASK", "link": None})
    assert not adopt_graph(graph).left


def test_through_a_reroute():
    middle = [
        ("IPAdapterModelLoader", {}, ["my face.bin"]),
        ("Reroute", {"": (3, 0)}, []),
        ("IPAdapterInsightFaceLoader", {}, ["CPU", "buffalo_l"]),
        ("IPAdapterFaceID", {"model": (1, 0), "ipadapter": (4, 0), "insightface": (5, 0), "image": (2, 0)}, old_graphs.WEIGHT),
    ]
    graph = old_graphs.portrait(middle, (6, 0))
    assert len(adopt_graph(graph).done) == 3  # the loader's file has no telling name, but it feeds IPAdapterFaceID


def test_inside_subgraphs():
    inner = old_graphs.by_preset()
    inner["links"] = [
        dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
        for link in inner["links"]
    ]
    graph = old_graphs.portrait([], (1, 0)) | {"definitions": {"subgraphs": [{**inner, "id": "a-b", "state": {}}]}}
    before = copy.deepcopy(graph)
    assert len(adopt_graph(graph).done) == 2
    inside = graph["definitions"]["subgraphs"][0]["nodes"]
    assert [node["type"] for node in inside[2:4]] == [NEW["IPAdapterUnifiedLoaderFaceID"], NEW["IPAdapterFaceID"]]
    assert graph["nodes"] == before["nodes"]


def test_a_queued_graph_keeps_what_is_installed():
    prompt = old_graphs.to_api(old_graphs.by_preset())
    before = copy.deepcopy(prompt)
    assert adopt_prompt(prompt, lambda _: True) == [] and prompt == before
    assert len(adopt_prompt(prompt, lambda _: False)) == 2
    for odd in ({}, {"1": None}, {"1": {"inputs": 3}}, {"1": {"class_type": 5}}, {"1": {"class_type": []}}):
        assert adopt_prompt(odd, lambda _: False) == []


@pytest.mark.parametrize("data", [None, [], {}, {"nodes": 1, "links": []}, {"nodes": [{"id": 1}], "links": []}, "x", {"a": {}}])
def test_what_is_no_graph(data):
    with pytest.raises(FaceGenError, match="This is no graph of ComfyUI's"):
        adopt_graph(data)


# --native


def of_type(graph, kind):
    return [node for node in graph["nodes"] if node["type"] == kind]


def source(graph, node, name):
    """(type, slot) of what an input is connected to."""
    (one,) = (one for one in node["inputs"] if one["name"] == name)
    link = next(link for link in graph["links"] if link[0] == one["link"])
    return next(n for n in graph["nodes"] if n["id"] == link[1])["type"], link[2]


def test_native_by_preset():
    graph = old_graphs.by_preset()
    before = copy.deepcopy(graph)
    adopted = adopt_graph(graph, native=True)
    old_graphs.check_links(graph)
    assert {node["type"] for node in graph["nodes"]} & (set(OLD) | set(NEW.values())) == set()
    (apply,), (embed,), (loader,) = (of_type(graph, f"FaceGen{kind}") for kind in ("ApplyFaceID", "EmbedFace", "LoadFaceID"))
    assert (apply["id"], apply["pos"]) == (4, before["nodes"][3]["pos"]) and loader["id"] == 3 and embed["id"] > 10
    assert source(graph, apply, "model") == ("CheckpointLoaderSimple", 0)  # its LoRA is applied here, not before
    assert source(graph, apply, "faceid") == ("FaceGenLoadFaceID", 0)
    assert source(graph, apply, "face_embeds") == ("FaceGenEmbedFace", 0)
    assert source(graph, embed, "face_analysis") == ("FaceGenLoadFaceAnalyzer", 0)
    assert source(graph, embed, "clip_vision") == ("CLIPVisionLoader", 0)
    assert source(graph, embed, "image") == ("LoadImage", 0)
    assert source(graph, of_type(graph, "KSampler")[0], "model") == ("FaceGenApplyFaceID", 0)
    assert apply["widgets_values"] == [0.8, 1.3, 0.6, 0.0, 1.0, ""] and embed["widgets_values"][2] == "concat"
    assert loader["widgets_values"] == ["ip-adapter-faceid-plusv2_sd15.bin"]
    assert "means ip-adapter-faceid-plusv2_sd15.bin, as the model seems to be sd15" in adopted.notes[0]


def test_new_nodes_lie_over_no_other():
    graph = old_graphs.by_preset()
    adopt_graph(graph, native=True)
    boxes = [box(node) for node in graph["nodes"]]
    new = [box(node) for node in graph["nodes"][-3:]]
    over = [(a, b) for a in new for b in boxes if a is not b and a != b]
    assert len(boxes) == 13
    assert [1 for a, b in over if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]] == []


def test_native_by_parts_and_in_api_format():
    graph, prompt = old_graphs.by_parts(), old_graphs.to_api(old_graphs.by_parts())
    adopted = adopt_graph(graph, native=True), adopt_graph(prompt, native=True)
    old_graphs.check_links(graph)
    assert adopted[0].done == adopted[1].done and len(adopted[0].done) == 3 and adopted[0].notes == []
    (apply,), (embed,) = (of_type(graph, f"FaceGen{kind}") for kind in ("ApplyFaceID", "EmbedFace"))
    assert source(graph, embed, "clip_vision") == ("CLIPVisionLoader", 0) and len(graph["nodes"]) == 13
    assert apply["widgets_values"][2] == 0.0  # the LoRA is loaded elsewhere in such graphs
    api = prompt["6"]
    assert api["class_type"] == "FaceGenApplyFaceID" and api["inputs"]["weight"] == 0.8
    assert prompt[api["inputs"]["face_embeds"][0]]["inputs"]["image"] == ["2", 0]
    assert prompt["4"] == {
        "class_type": "FaceGenLoadFaceAnalyzer",
        "inputs": {"model_pack": "buffalo_l", "provider": "CPU", "min_confidence": 0.5},
    }


@EVERY
def test_native_leaves_no_old_node_and_no_loose_link(make):
    """The two formats become the same."""
    graph, prompt = make(), old_graphs.to_api(make())
    saved, api = adopt_graph(graph, native=True), adopt_graph(prompt, native=True)
    assert saved.done == api.done and saved.notes == api.notes and saved.left == []
    old_graphs.check_links(graph)
    assert not {node["type"] for node in graph["nodes"]} & {*OLD, *NEW.values()}
    assert {n["id"]: n["type"] for n in graph["nodes"]} == {int(number): n["class_type"] for number, n in prompt.items()}
    for number, node in prompt.items():
        (twin,) = (one for one in graph["nodes"] if one["id"] == int(number))
        links = {name: value for name, value in node["inputs"].items() if isinstance(value, list)}
        assert links == {i["name"]: _from(graph, i["link"]) for i in twin["inputs"] if i["link"] is not None}
        if twin["type"] in NATIVE:
            values = dict(zip(NATIVE[twin["type"]].values, twin["widgets_values"], strict=True))
            assert values == {name: value for name, value in node["inputs"].items() if name not in links}


def _from(graph, number):
    _, origin, slot, *_ = next(link for link in graph["links"] if link[0] == number)
    return [str(origin), slot]


def test_native_instantid():
    graph = old_graphs.instantid(kind="ApplyInstantIDAdvanced", widgets=ADVANCED, pose=(2, 0), size=768)
    adopted = adopt_graph(graph, native=True)
    (apply,), (embed,) = (of_type(graph, f"FaceGen{kind}") for kind in ("ApplyInstantID", "EmbedFace"))
    assert apply["id"] == 8 and apply["widgets_values"] == [0.7, 0.5, 0.1, 0.9, ""]
    assert source(graph, apply, "keypoints") == ("FaceGenFaceKeypoints", 0)
    assert source(graph, apply, "instantid") == ("FaceGenLoadInstantID", 0)
    points = of_type(graph, "FaceGenFaceKeypoints")  # of the old node, and of the photo that shows the pose
    assert len(points) == 2 and all(node["widgets_values"][:3] == [768, 768, "as in the photo"] for node in points)
    assert embed["widgets_values"] == ["largest", 0, "concat", "skip"]
    assert source(graph, embed, "face_analysis") == ("FaceGenLoadFaceAnalyzer", 0)
    assert of_type(graph, "FaceGenLoadFaceAnalyzer")[0]["widgets_values"] == ["antelopev2", "CPU", 0.5]
    sampler = of_type(graph, "KSampler")[0]
    for slot, name in enumerate(("model", "positive", "negative")):
        assert source(graph, sampler, name) == ("FaceGenApplyInstantID", slot)
    assert "noise 0.2 is left out" in adopted.notes[0]
    simple = old_graphs.instantid(pose=(13, 0))
    assert "noise 0.35 is left out" in adopt_graph(simple, native=True).notes[0]
    assert of_type(simple, "FaceGenApplyInstantID")[0]["widgets_values"][:2] == [0.8, 0.8]
    assert len(of_type(simple, "FaceGenFaceKeypoints")) == 1  # the old pack's own hint image goes straight on


def test_native_pulid():
    graph = old_graphs.pulid()
    assert adopt_graph(graph, native=True).notes == []
    (apply,), (embed,) = (of_type(graph, f"FaceGen{kind}") for kind in ("ApplyPuLID", "EmbedFace"))
    assert apply["widgets_values"] == [0.9, 0.0, 1.0, "orthogonal v1", 16, ""]
    assert source(graph, embed, "face_structure") == ("FaceGenLoadFaceStructure", 0)
    assert source(graph, apply, "pulid") == ("FaceGenLoadPuLID", 0)
    assert of_type(graph, "FaceGenLoadFaceAnalyzer")[0]["widgets_values"][:2] == ["antelopev2", "auto"]
    flux = old_graphs.pulid_flux([0.9, 0.2, 1.0, "max", 1.0, 0.0, 1000, False])
    notes = " ".join(adopt_graph(flux, native=True).notes)
    assert "fusion 'max' is now 'mean'" in notes and "use_gray off is left out" in notes
    assert of_type(flux, "FaceGenApplyPuLID")[0]["widgets_values"][:2] == [0.9, 0.2]


def test_native_says_what_differs():
    widgets = [3.0, 4.0, "style transfer precise", "subtract", 0.1, 0.9, "K+V"]
    adopted = adopt_graph(old_graphs.by_preset(widgets=widgets), native=True)
    said = " ".join(adopted.notes)
    for part in (
        "s_scale 4 is now 2, as our node takes 0 to 2",
        "'style transfer precise' also pushes",
        "embeds_scaling 'K+V'",
        "combine_embeds 'subtract'",
    ):
        assert part in said
    negative = adopt_graph(old_graphs.by_preset(widgets=[-0.5, *old_graphs.WEIGHT[1:]]), native=True)
    assert "weight -0.5 is now 0" in " ".join(negative.notes)


def test_values_of_a_file_from_before_a_widget_was_added():
    graph = old_graphs.by_preset(widgets=old_graphs.WEIGHT[:6])
    assert not [note for note in adopt_graph(graph, native=True).notes if "embeds_scaling" in note]


def test_a_number_that_comes_from_another_node_stays_connected_or_keeps_the_node():
    for name, native in (("end_at", True), ("weight", False)):
        prompt = old_graphs.to_api(old_graphs.by_preset())
        prompt["99"] = {"class_type": "PrimitiveFloat", "inputs": {"value": 0.5}}
        prompt["4"]["inputs"][name] = ["99", 0]
        adopted = adopt_graph(prompt, native=True)
        assert prompt["4"]["class_type"] == ("FaceGenApplyFaceID" if native else NEW["IPAdapterFaceID"])
        assert prompt["4"]["inputs"]["end_percent" if native else name] == ["99", 0]
        assert native or "weight comes from another node" in adopted.notes[0]


@pytest.mark.parametrize(("base", "blocks"), [("sd15", 16), ("sdxl", 70)])
def test_layer_weights_say_what_the_weight_type_does(base, blocks):
    from facegen.adoption.packs.ip_adapter import WEIGHT_TYPES
    from facegen.adoption.packs.weight_types import block_weights, usual_places

    for kind in WEIGHT_TYPES:
        given = parse_layer_weights(layer_weights(kind, 0.7, base), blocks)
        wanted = [0 if one.swapped else one.weight / 0.7 for one in block_weights(kind, 0.7, base, usual_places(base))]
        assert given == pytest.approx(wanted, abs=1e-6), kind


@pytest.mark.parametrize(("name", "base"), [("dreamshaper_8.safetensors", "sd15"), ("juggernautXL_v9.safetensors", "sdxl")])
def test_the_base_is_guessed_or_told(name, base):
    graph = old_graphs.by_preset("FACEID")
    graph["nodes"][0]["widgets_values"] = [name]
    told, other = copy.deepcopy(graph), {"sd15": "sdxl", "sdxl": "sd15"}[base]
    adopt_graph(graph, native=True)
    adopt_graph(told, native=True, base=other)
    assert graph["nodes"][2]["widgets_values"] == [f"ip-adapter-faceid_{base}.bin"]
    assert told["nodes"][2]["widgets_values"] == [f"ip-adapter-faceid_{other}.bin"]
    assert not of_type(graph, "CLIPVisionLoader")  # plain FaceID reads none


def test_the_face_image_and_a_mask():
    middle = [
        ("IPAdapterUnifiedLoaderFaceID", {"model": (1, 0)}, ["FACEID", 0.6, "CPU"]),
        (
            "IPAdapterFaceID",
            {"model": (3, 0), "ipadapter": (3, 1), "image": (2, 0), "attn_mask": (2, 1)},
            old_graphs.WEIGHT,
        ),
        ("PreviewImage", {"images": (4, 1)}, []),
    ]
    graph = old_graphs.portrait(middle, (4, 0))
    adopt_graph(graph, native=True)
    old_graphs.check_links(graph)
    assert source(graph, graph["nodes"][4], "images") == ("FaceGenEmbedFace", 1)
    assert source(graph, graph["nodes"][3], "mask") == ("LoadImage", 1)


def test_every_change_can_be_written():
    graph = decorated(old_graphs.by_preset())
    adopt_graph(graph, native=True)
    assert not re.search("NaN|null, null", json.dumps(graph["links"]))

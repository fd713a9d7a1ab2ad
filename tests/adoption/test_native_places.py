"""Old nodes that become those of a new graph, where there is more around them: subgraphs, Reroutes, loaders of another pack."""

import copy

import pytest

import old_graphs
from facegen.adoption.adopt import adopt_graph
from facegen.adoption.which import OLD

LOADED = [
    ("IPAdapterModelLoader", {}, ["my face.bin"]),
    ("Reroute", {"": (3, 0)}, []),
    ("Reroute", {"": (4, 0)}, []),
    ("IPAdapterInsightFaceLoader", {}, ["CPU", "buffalo_l"]),
    ("IPAdapterFaceID", {"model": (1, 0), "ipadapter": (5, 0), "insightface": (6, 0), "image": (2, 0)}, old_graphs.WEIGHT),
]


def types(graph):
    return {node["id"]: node["type"] for node in graph["nodes"]}


def test_reroutes_between_them_are_taken_out():
    graph = old_graphs.portrait(LOADED, (7, 0))
    adopted = adopt_graph(graph, native=True)
    old_graphs.check_links(graph)
    assert len(adopted.done) == 3 and adopted.notes == []
    assert not {"Reroute", *OLD} & {*types(graph).values()}
    (apply,) = (node for node in graph["nodes"] if node["type"] == "FaceGenApplyFaceID")
    (link,) = (one["link"] for one in apply["inputs"] if one["name"] == "faceid")
    assert next(one for one in graph["links"] if one[0] == link)[1:3] == [3, 0]


def test_a_reroute_to_another_node_keeps_their_shape():
    graph = old_graphs.portrait(LOADED, (7, 0))
    graph["nodes"].append({"id": 90, "type": "SomebodysNode", "inputs": [{"name": "any", "link": None}]})
    old_graphs._connect(graph, (4, 0), 90, "any")
    adopted = adopt_graph(graph, native=True)
    assert "also connected to SomebodysNode 90 (any)" in adopted.notes[0] and len(adopted.done) == 3
    assert types(graph)[7] == OLD["IPAdapterFaceID"].new_id and types(graph)[4] == "Reroute"


def with_face_shown():
    """The other output of the node that applies leaves the subgraph, too."""
    middle = [
        ("IPAdapterUnifiedLoaderFaceID", {"model": (1, 0)}, ["FACEID", 0.6, "CPU"]),
        ("IPAdapterFaceID", {"model": (3, 0), "ipadapter": (3, 1), "image": (2, 0)}, old_graphs.WEIGHT),
        ("PreviewImage", {"images": (4, 1)}, []),
    ]
    return old_graphs.portrait(middle, (4, 0))


MAKE = (old_graphs.by_preset, with_face_shown, old_graphs.instantid, old_graphs.pulid, old_graphs.pulid_flux)


@pytest.mark.parametrize("make", MAKE)
def test_in_a_subgraph_as_outside_of_one(make):
    """Links through its ends stay; what runs is the same."""
    old = {node["id"] for node in make()["nodes"] if node["type"] in OLD}
    flat, graph = make(), old_graphs.nested(make(), old)
    outer = copy.deepcopy({key: value for key, value in graph.items() if key != "definitions"})
    adopted, again = adopt_graph(graph, native=True), adopt_graph(flat, native=True)
    assert adopted.notes == again.notes and len(adopted.done) == len(again.done)
    inner = graph["definitions"]["subgraphs"][0]
    assert not {*OLD} & {*types(inner).values()} and not [kind for kind in types(inner).values() if "Adopted" in kind]
    check_inner(inner)
    assert types(graph) == types(outer) and graph["links"] == outer["links"]
    numbers = [*types(graph), *types(inner)]
    assert len(numbers) == len(set(numbers)) and graph["last_node_id"] >= max(numbers)
    assert sorted(unfolded(graph)) == sorted(unfolded(flat))


def check_inner(inner):
    """Every link is told alike by the list and by both of its ends."""
    nodes = {node["id"]: node for node in inner["nodes"]}
    for link in inner["links"]:
        given = inner["inputs"][link["origin_slot"]]["linkIds"] if link["origin_id"] == -10 else None
        given = given or nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
        assert link["id"] in given
        if link["target_id"] == -20:
            assert link["id"] in inner["outputs"][link["target_slot"]]["linkIds"]
        else:
            assert nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"] == link["id"]
    told = [number for end in (*inner["inputs"], *inner["outputs"]) for number in end["linkIds"]]
    told += [n for node in nodes.values() for output in node["outputs"] for n in output["links"] or []]
    told += [one["link"] for node in nodes.values() for one in node["inputs"] if one["link"] is not None]
    assert sorted(told) == sorted(link["id"] for link in inner["links"] for _ in (0, 1))


def unfolded(graph):
    """(type, slot, type, name of the input) of every link between nodes that aren't subgraphs."""
    inner = graph.get("definitions", {}).get("subgraphs", [{"nodes": [], "links": []}])[0]
    kinds = {**types(graph), **types(inner)}
    names = {node["id"]: [one["name"] for one in node["inputs"]] for level in (graph, inner) for node in level["nodes"]}
    outer = [dict(zip(old_graphs.LINK, link, strict=True)) for link in graph["links"]]
    for link in [*outer, *inner["links"]]:
        origin, target = (link["origin_id"], link["origin_slot"]), (link["target_id"], link["target_slot"])
        origins, targets = [origin], [target]
        if 50 in (link["origin_id"], link["target_id"]):
            continue
        if link["origin_id"] == -10:
            into = [one for one in outer if (one["target_id"], one["target_slot"]) == (50, origin[1])]
            origins = [(one["origin_id"], one["origin_slot"]) for one in into]
        if link["target_id"] == -20:
            out = [one for one in outer if (one["origin_id"], one["origin_slot"]) == (50, target[1])]
            targets = [(one["target_id"], one["target_slot"]) for one in out]
        for origin, slot in origins:
            for target, at in targets:
                yield kinds[origin], slot, kinds[target], names[target][at]


def test_loaders_outside_of_the_subgraph_and_widgets_shown_on_it_keep_the_shape():
    graph = old_graphs.nested(old_graphs.by_preset(), {4})
    assert "no loader of its pack is connected to ipadapter" in adopt_graph(graph, native=True).notes[-1]
    graph = old_graphs.nested(old_graphs.by_preset(), {3, 4})
    graph["nodes"][-1]["properties"]["proxyWidgets"] = [["4", "weight"]]
    adopted = adopt_graph(graph, native=True)
    assert adopted.notes == ["IPAdapterFaceID 4: weight is set on the subgraph's node. So it keeps its shape."]
    graph = old_graphs.nested(old_graphs.by_preset(), {3})
    said = " ".join(adopt_graph(graph, native=True).notes)
    assert "it is also connected to the subgraph's outputs" in said and "its model leaves the subgraph" in said


def test_a_face_analysis_of_another_pack():
    """InstantID's nodes take PuLID's, which is the same."""
    graph = old_graphs.instantid()
    graph["nodes"][3] |= {"type": "PulidInsightFaceLoader"}
    adopted = adopt_graph(graph, native=True)
    old_graphs.check_links(graph)
    assert "PulidInsightFaceLoader 4: now FaceGenLoadFaceAnalyzer" in adopted.done
    assert not [kind for kind in types(graph).values() if "Adopted" in kind or kind in OLD]
    assert next(n for n in graph["nodes"] if n["id"] == 4)["widgets_values"][0] == "antelopev2"


def test_one_family_keeps_its_shape_and_the_other_does_not():
    prompt = old_graphs.to_api(old_graphs.pulid())
    prompt |= {f"9{n}": node for n, node in old_graphs.to_api(old_graphs.pulid_flux()).items()}
    for number, node in prompt.items():
        if len(number) > 1 and number[0] == "9":
            node["inputs"] = {k: [f"9{v[0]}", v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()}
    prompt["96"]["inputs"]["weight"] = "{{WEIGHT}}"
    adopted = adopt_graph(prompt, native=True)
    assert adopted.notes == ["ApplyPulidFlux 96: weight is set to '{{WEIGHT}}', which isn't known here. So it keeps its shape."]
    assert prompt["96"]["class_type"] == OLD["ApplyPulidFlux"].new_id and prompt["96"]["inputs"]["weight"] == "{{WEIGHT}}"
    assert prompt["6"]["class_type"] == "FaceGenApplyPuLID"


def test_texts_between_the_nodes_of_an_api_graph_stay():
    prompt = {"_comment": "mine", **old_graphs.to_api(old_graphs.by_preset())}
    for native in (False, True):
        one = copy.deepcopy(prompt)
        assert len(adopt_graph(one, native=native).done) == 2 and one["_comment"] == "mine"


def test_a_choice_that_the_pack_no_longer_has_keeps_the_shape():
    adopted = adopt_graph(old_graphs.by_preset(widgets=[0.8, 1.0, "original", *old_graphs.WEIGHT[3:]]), native=True)
    assert "weight_type is set to 'original', which isn't known here" in adopted.notes[0]


def test_earlier_names_of_a_choice_are_known():
    now, before = (
        old_graphs.by_preset(widgets=[0.8, 1.0, kind, *old_graphs.WEIGHT[3:]])
        for kind in ("style transfer", "style transfer (SDXL)")
    )
    assert adopt_graph(now, native=True) == adopt_graph(before, native=True) and now == before


def test_a_loader_that_only_puts_its_lora_on_the_model_stays():
    graph = old_graphs.portrait([("IPAdapterUnifiedLoaderFaceID", {"model": (1, 0)}, ["FACEID", 0.6, "CPU"])], (3, 0))
    adopted = adopt_graph(graph, native=True)
    assert "nothing that applies FaceID is connected to it" in adopted.notes[0]
    assert types(graph)[3] == OLD["IPAdapterUnifiedLoaderFaceID"].new_id


def test_the_older_faceid_node():
    graph = old_graphs.first_faceid(weight_type="channel penalty", v2=1.4)
    adopted = adopt_graph(graph, native=True)
    old_graphs.check_links(graph)
    (apply,) = (node for node in graph["nodes"] if node["type"] == "FaceGenApplyFaceID")
    assert apply["widgets_values"][:2] == [0.7, 1.4] and not {*OLD} & {*types(graph).values()}
    said = " ".join(adopted.notes)
    assert "embeds_scaling 'K+mean(V) w/ C penalty' is left out" in said and "noise 0.25 is left out" in said


def test_the_simple_node():
    middle = [
        ("IPAdapterUnifiedLoaderFaceID", {"model": (1, 0)}, ["FACEID PLUS V2", 0.6, "CPU"]),
        (
            "IPAdapter",
            {"model": (3, 0), "ipadapter": (3, 1), "image": (2, 0)},
            [0.6, 0.1, 0.9, "prompt is more important"],
        ),
    ]
    graph = old_graphs.portrait(middle, (4, 0))
    assert adopt_graph(graph, native=True).left == []
    (apply,) = (node for node in graph["nodes"] if node["type"] == "FaceGenApplyFaceID")
    weight, s_scale, lora, start, end, layers = apply["widgets_values"]
    assert (weight, s_scale, lora, start, end) == (0.6, 1.2, 0.6, 0.1, 0.9) and layers.startswith("0:")
    plain = old_graphs.portrait([("IPAdapterUnifiedLoader", {}, []), middle[1]], (4, 0))
    assert "IPAdapterUnifiedLoader" in adopt_graph(plain).left[0]

"""Graphs with other packs' nodes, which aren't installed, on a real ComfyUI: queued as they are, and adopted by the command."""

import json

import numpy as np
import pytest

import old_graphs
import workflows
from facegen.adoption.which import OLD
from facegen.standalone.cli.main import main
from small_runs import FILES, Done, apart, put_photos


@pytest.fixture(scope="module", autouse=True)
def photos(server):
    put_photos(server.base / "input")


def with_vision(graph):
    """The graph with the tests' CLIP vision model in place of the published one."""
    for node in graph.values():
        node["inputs"] = {
            name: FILES.get(value, value) if isinstance(value, str) else value for name, value in node["inputs"].items()
        }
    return graph


@pytest.fixture(scope="module")
def old_picture(server):
    return Done(server, old_graphs.to_api(old_graphs.by_preset())).picture()


def test_an_api_prompt_runs_as_it_is(server, old_picture):
    assert old_picture.shape == (128, 128, 3) and old_picture.std() > 1
    without = old_graphs.by_preset(widgets=[0.0, *old_graphs.WEIGHT[1:]])
    assert apart(old_picture, Done(server, old_graphs.to_api(without)).picture()) > 0.5


def test_a_graph_of_the_pack_s_first_releases_runs_as_it_is(server):
    portrait, nobody = (Done(server, old_graphs.to_api(old_graphs.first_faceid(weight))).picture() for weight in (0.7, 0.0))
    assert portrait.std() > 1 and apart(portrait, nobody) > 0.5


def test_a_choice_by_its_earlier_name(server):
    """Of which the list that one chooses from has nothing."""
    now, before = (
        old_graphs.by_preset(widgets=[0.8, 1.3, f"composition{more}", *old_graphs.WEIGHT[3:]]) for more in ("", " (SDXL)")
    )
    assert apart(*(Done(server, old_graphs.to_api(one)).picture() for one in (now, before))) < 0.05
    now["nodes"][3]["widgets_values"][2] = "original"
    with pytest.raises(RuntimeError, match="weight_type 'original' isn't known"):
        server.queue(old_graphs.to_api(now))


def test_with_titles_and_by_parts(server):
    prompt = old_graphs.to_api(old_graphs.by_parts())
    assert Done(server, {number: {**node, "_meta": {"title": "x"}} for number, node in prompt.items()}).picture().std() > 1


@pytest.mark.parametrize(("native", "nested"), [(False, False), (True, True)])
def test_a_saved_graph_adopted_by_the_command(server, tmp_path, native, nested, old_picture):
    """To the same picture, whichever way, also inside a subgraph."""
    object_info = server.get("/object_info")
    file, out = tmp_path / "old.json", tmp_path / "new.json"
    old = old_graphs.nested(old_graphs.by_preset(), {3, 4}) if nested else old_graphs.by_preset()
    file.write_text(json.dumps(old), encoding="utf-8")
    assert main(["adopt", str(file), "-o", str(out), *(["--native"] if native else [])]) == 0
    graph = with_vision(workflows.to_api(json.loads(out.read_text(encoding="utf-8")), object_info))
    assert not {node["class_type"] for node in graph.values()} & set(OLD)
    picture = Done(server, graph).picture()
    assert apart(picture, old_picture) < 0.05 and not np.array_equal(picture, 0 * picture)


def test_a_graph_in_api_format_adopted_by_the_command(server, tmp_path, old_picture):
    file, out = tmp_path / "old.json", tmp_path / "new.json"
    file.write_text(json.dumps(old_graphs.to_api(old_graphs.by_preset())), encoding="utf-8")
    assert main(["adopt", str(file), "-o", str(out), "--native"]) == 0
    graph = with_vision(json.loads(out.read_text(encoding="utf-8")))
    assert apart(Done(server, graph).picture(), old_picture) < 0.05


@pytest.mark.newest
def test_instantid(server, sdxl, tmp_path):
    """As it is; with another strength; and as the nodes of a new graph, from a photo that shows the pose."""
    as_it_is = Done(server, old_graphs.to_api(old_graphs.instantid(pose=(13, 0)))).picture()
    assert as_it_is.shape == (128, 128, 3) and as_it_is.std() > 5
    weaker = [0.3, 0.3, 0.0, 1.0, 0.35, "average"]
    other = old_graphs.instantid(kind="ApplyInstantIDAdvanced", widgets=weaker, pose=(13, 0))
    assert apart(as_it_is, Done(server, old_graphs.to_api(other)).picture()) > 0.5
    file, out = tmp_path / "old.json", tmp_path / "new.json"
    file.write_text(json.dumps(old_graphs.instantid(pose=(2, 0))), encoding="utf-8")
    assert main(["adopt", str(file), "-o", str(out), "--native"]) == 0
    graph = workflows.to_api(json.loads(out.read_text(encoding="utf-8")), server.get("/object_info"))
    assert "FaceGenApplyInstantID" in {node["class_type"] for node in graph.values()}
    assert Done(server, graph).picture().std() > 5


@pytest.mark.newest
def test_pulid(server, sdxl, tmp_path):
    pytest.importorskip("timm")
    check_pulid(server, old_graphs.pulid(widgets=("fidelity", 0.9, 0.0, 1.0)), tmp_path)


@pytest.mark.newest
@pytest.mark.usefixtures("flux_that_runs")
def test_pulid_flux(server, tmp_path):
    pytest.importorskip("timm")
    check_pulid(server, old_graphs.pulid_flux([0.9, 0.0, 1.0, "concat", 1.0, 0.0, 1000, True]), tmp_path)


def check_pulid(server, old, tmp_path):
    """As it is; as the nodes of a new graph, which give the same picture; and with the face taken away, another."""
    as_it_is = Done(server, old_graphs.to_api(old)).picture()
    assert as_it_is.shape == (128, 128, 3) and as_it_is.std() > 5
    file, out = tmp_path / "old.json", tmp_path / "new.json"
    file.write_text(json.dumps(old), encoding="utf-8")
    assert main(["adopt", str(file), "-o", str(out), "--native"]) == 0
    graph = workflows.to_api(json.loads(out.read_text(encoding="utf-8")), server.get("/object_info"))
    assert apart(Done(server, graph).picture(), as_it_is) < 0.05
    (apply,) = (node for node in graph.values() if node["class_type"] == "FaceGenApplyPuLID")
    apply["inputs"]["weight"] = 0.0
    assert apart(Done(server, graph).picture(), as_it_is) > 0.5


def test_the_front_end_is_told_of_every_replacement(server):
    try:
        told = server.get("/node_replacements")
    except RuntimeError as error:
        assert "404" in str(error)
        pytest.skip("this ComfyUI replaces no nodes")
    for old in OLD.values():
        (entry,) = told[old.id]
        assert entry["new_node_id"] == old.new_id and entry["old_widget_ids"] == [one.name for one in old.widgets]
        assert [one["old_id"] for one in entry["input_mapping"] or []] == [one.name for one in old.inputs]
        assert entry["output_mapping"] == [{"new_idx": slot, "old_idx": slot} for slot in range(len(old.outputs))]


def test_a_plain_ip_adapter_says_what_is_missing(server):
    middle = [
        ("IPAdapterModelLoader", {}, ["ip-adapter-plus_sd15.safetensors"]),
        (
            "IPAdapterAdvanced",
            {"model": (1, 0), "ipadapter": (3, 0), "image": (2, 0)},
            [1.0, "linear", "concat", 0, 1, "V only"],
        ),
    ]
    with pytest.raises(RuntimeError, match="400 .*IPAdapter Model Loader: 'ip-adapter-plus_sd15.safetensors' is not"):
        server.queue(old_graphs.to_api(old_graphs.portrait(middle, (4, 0))))

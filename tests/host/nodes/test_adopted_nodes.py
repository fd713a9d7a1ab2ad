"""Nodes that stand in for ComfyUI_IPAdapter_plus's, inside ComfyUI: as they were declared there, and what they do here."""

import pytest
import torch

import comfy_unets
import old_graphs
import workflows
from facegen.adoption.native.nodes import NATIVE
from facegen.adoption.packs import ip_adapter
from facegen.adoption.which import OLD
from facegen.errors import FaceGenError, WrongRecogniserError
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import CLIP, faceid_state, random_faces, relative_error, save

APPLY = {"weight_faceidv2": 1.3, "weight_type": "linear", "combine_embeds": "concat", "start_at": 0.0, "end_at": 1.0}
APPLY |= {"embeds_scaling": "V only"}


@pytest.fixture(scope="module")
def info(server):
    return server.get("/object_info")


@pytest.mark.parametrize("old", OLD.values(), ids=OLD)
def test_inputs_and_outputs_are_the_old_node_s(info, old):
    new = info[old.new_id]
    given = {**new["input"].get("required", {}), **new["input"].get("optional", {})}
    assert list(given) == [one.name for one in old.inputs]
    assert set(new["input"].get("optional", {})) == {one.name for one in old.inputs if one.optional}
    assert workflows.widget_order(old.new_id, info) == [one.name for one in old.widgets]
    for one in old.inputs:
        spec = given[one.name]
        assert workflows.kind(spec) == one.kind
        if one.kind == "FLOAT":
            rules = spec[1]
            assert (rules["default"], rules["min"], rules["max"], rules["step"]) == (one.default, one.low, one.high, one.step)
        if one.options:
            assert (spec[0] if isinstance(spec[0], list) else spec[1]["options"]) == list(one.options)
    assert new["output_is_list"] == [one.many for one in old.outputs]
    assert new["output"] == [one.kind for one in old.outputs] and new["output_name"] == [one.name for one in old.outputs]


@pytest.mark.parametrize("old", OLD.values(), ids=OLD)
def test_they_are_marked_as_of_old_graphs_and_offered_to_nobody(info, old):
    new = info[old.new_id]
    assert new["deprecated"] and not new.get("search_aliases") and not new.get("essentials_category")
    assert old.id not in info and old.pack in new["description"]
    assert new["category"] == "FaceGen/adopted" and new["display_name"] == f"{old.title} (FaceGen)"


@pytest.mark.parametrize("name", NATIVE)
def test_the_nodes_that_adopt_native_writes_are_as_it_thinks(info, name):
    """Their inputs' and outputs' names, types and order, and what a new one is set to."""
    native, real = NATIVE[name], workflows.schema_inputs(name, info)
    order = {**native.inputs}
    assert {one: workflows.kind(spec) for one, spec in real.items()} == order
    required, optional = info[name]["input"].get("required", {}), info[name]["input"].get("optional", {})
    assert set(order) == {*required, *optional} and workflows.widget_order(name, info) == list(native.values)
    assert [*zip(info[name]["output_name"], info[name]["output"], strict=True)] == [*native.outputs.items()]
    files = {"clip_name", "faceid_file", "model_pack", "instantid_file", "pulid_file", "vision_file", "parsing_file"}
    for one, value in native.values.items():
        assert one in files or value == real[one][1].get("default", value)


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sd15()


@pytest.fixture(scope="module")
def pipeline(pack_nodes, tmp_path_factory):
    from facegen.nodes.adopted.parts import Pipeline

    state = faceid_state(comfy_unets.WIDTHS, 768, CLIP, depth=1)
    return Pipeline(FaceIDAdapter(save(state, tmp_path_factory.mktemp("faceid") / "adapter.safetensors")), "clip", "analysis")


@pytest.fixture
def photos(monkeypatch, pack_nodes):
    """photos(faces) lets every picture show these faces, without a detector."""
    from facegen.models.face.photo_to_embeds import EmbeddedPhotos
    from facegen.nodes.adopted import ip_adapter as nodes

    def show(faces):
        nothing = torch.zeros(len(faces), 224, 224, 3)
        monkeypatch.setattr(
            nodes,
            "embed_photos",
            lambda *_, combine, **__: EmbeddedPhotos(faces.combined(combine), nothing, nothing, {}, nothing),
        )

    return show


@pytest.fixture
def adopted(run, model, pipeline):
    def apply(node="IPAdapterFaceID", to=None, **inputs):
        picture = torch.zeros(1, 8, 8, 3)
        given = {"model": to or model, "ipadapter": pipeline, "image": picture, "weight": 0.8, **APPLY, **inputs}
        if node == "IPAdapterAdvanced":
            del given["weight_faceidv2"]
        return run(f"FaceGenAdopted{node}", **given)[0]

    return apply


@pytest.fixture
def native(run, model, pipeline):
    def apply(faces, **inputs):
        given = {"model": model, "faceid": pipeline.adapter, "face_embeds": faces, "lora_strength": 0.0, "weight": 0.8}
        return run("FaceGenApplyFaceID", **{**given, "s_scale": 1.3, **inputs})[0]

    return apply


def same(a, b, batch=2, sides=(1, 0), sigma=5.0):
    given = comfy_unets.inputs(batch)
    one, other = (comfy_unets.predict(each, *given, sides=sides, sigma=sigma) for each in (a, b))
    return relative_error(one, other)


@pytest.mark.parametrize("count", [1, 2])
def test_faceid_is_what_our_own_node_makes(adopted, native, photos, count):
    faces = random_faces(count)
    photos(faces)
    assert same(adopted(), native(faces)) < 1e-5
    assert same(adopted(weight_faceidv2=0.2), native(faces)) > 1e-3


@pytest.mark.newest
def test_percent_range_and_mask(adopted, native, photos):
    faces, mask = random_faces(), torch.zeros(1, 8, 8)
    photos(faces)
    mask[:, :, :4] = 1
    late = adopted(start_at=0.6), native(faces, start_percent=0.6)
    masked = adopted(attn_mask=mask), native(faces, mask=mask)
    for sigma in (0.1, 5.0):
        assert same(*late, sigma=sigma) < 1e-5
    assert same(*late[:1], adopted(), sigma=0.1) < 1e-6 < 1e-3 < same(*late[:1], adopted(), sigma=5.0)
    assert same(*masked) < 1e-5 and same(masked[0], adopted()) > 1e-3


@pytest.mark.newest
def test_weight_types_reach_their_blocks(adopted, native, photos):
    from facegen.adoption.native.faceid import layer_weights

    faces = random_faces()
    photos(faces)
    for kind in ("ease in", "weak output", "style transfer", "composition"):
        ours = native(faces, layer_weights=layer_weights(kind, 0.8, "sd15"))
        assert same(adopted(weight_type=kind), ours) < 1e-5, kind
        assert same(adopted(), ours) > 1e-3, kind


@pytest.mark.newest
def test_precise_types_put_the_face_on_the_other_side(adopted, model, photos):
    """In the blocks of the composition the conditional row goes without a face, and the unconditional one gets it."""
    photos(random_faces())
    alone, precise = adopted(weight_type="composition"), adopted(weight_type="composition precise")
    # With the style's blocks gone from the conditional side, the composition's alone are left there.
    assert same(alone, precise, batch=1, sides=[0]) < 1e-6 and same(alone, precise, batch=1, sides=[1]) > 1e-3
    assert same(alone, model, batch=1, sides=[0]) > 1e-4


@pytest.mark.newest
def test_scalings_of_weight_one_are_alike(adopted, photos):
    photos(random_faces())
    assert same(adopted(weight=1.0, embeds_scaling="K+V"), adopted(weight=1.0)) < 1e-5
    for how in ip_adapter.SCALINGS[1:]:
        assert same(adopted(weight=0.5, embeds_scaling=how), adopted(weight=0.5)) > 1e-3, how


@pytest.mark.newest
def test_beyond_the_contract_s_range_of_s_scale(adopted, native, photos, pipeline):
    """Keys and values go on in a straight line."""
    faces = random_faces()
    photos(faces)
    none, one = (pipeline.adapter.keys_values(faces, s)[0][0] for s in (0.0, 1.0))
    from facegen.nodes.adopted.ip_adapter import keys_values_at

    assert torch.allclose(keys_values_at(pipeline.adapter, faces, 3.5)[0][0], none + 3.5 * (one - none), atol=1e-4)
    assert same(adopted(weight_faceidv2=4.0), adopted(weight_faceidv2=2.0)) > 1e-3


@pytest.mark.newest
def test_advanced_takes_twice_the_weight_for_the_structure(adopted, native, photos):
    faces = random_faces()
    photos(faces)
    assert same(adopted("IPAdapterAdvanced"), native(faces, s_scale=1.6)) < 1e-5


@pytest.mark.newest
@pytest.mark.parametrize(("kind", "means"), ip_adapter.SIMPLE_TYPES.items())
def test_the_simple_node(run, adopted, model, pipeline, photos, kind, means):
    photos(random_faces(2))
    given = {"model": model, "ipadapter": pipeline, "image": torch.zeros(1, 8, 8, 3), "weight": 0.8, "weight_type": kind}
    (simple,) = run("FaceGenAdoptedIPAdapter", **given, start_at=0.0, end_at=1.0)
    assert same(simple, adopted("IPAdapterAdvanced", weight_type=means)) < 1e-6


@pytest.mark.newest
@pytest.mark.parametrize(("earlier", "now"), ip_adapter.EARLIER_NAMES.items())
def test_earlier_names_of_weight_types(adopted, photos, pack_nodes, earlier, now):
    photos(random_faces())
    assert same(adopted(weight_type=earlier), adopted(weight_type=now)) < 1e-6
    check = pack_nodes["FaceGenAdoptedIPAdapterFaceID"].validate_inputs
    assert check(earlier) is True and check(None) is True
    assert check("original").startswith("IPAdapter FaceID: weight_type 'original' isn't known. Choose one of: linear, ")


FIRST = {"noise": 0.0, "faceid_v2": True, "weight_v2": 1.3, "unfold_batch": False, "start_at": 0.0, "end_at": 1.0}


@pytest.fixture
def first(run, model, pipeline):
    def apply(**inputs):
        parts = {"model": model, "ipadapter": pipeline, "clip_vision": "clip", "insightface": "analysis"}
        given = {**parts, "image": torch.zeros(1, 8, 8, 3), "weight": 0.8, "weight_type": "original", **FIRST, **inputs}
        return run("FaceGenAdoptedIPAdapterApplyFaceID", **given)[0]

    return apply


@pytest.mark.newest
@pytest.mark.parametrize(("kind", "scaling"), ip_adapter.FIRST_SCALINGS.items())
def test_the_node_of_the_first_releases(adopted, first, photos, kind, scaling):
    photos(random_faces())
    assert same(first(weight_type=kind), adopted(embeds_scaling=scaling)) < 1e-6
    assert same(first(weight_type=kind, weight_v2=0.2), adopted(embeds_scaling=scaling)) > 1e-3


def test_what_the_first_releases_had_and_we_have_not_is_said(first, adopted, photos, caplog):
    faces = random_faces(2)
    photos(faces)
    assert same(first(unfold_batch=True), adopted("IPAAdapterFaceIDBatch"), batch=4) < 1e-6 and not caplog.text
    first(noise=0.2, faceid_v2=False)
    assert "noise 0.2 is not used" in caplog.text and "faceid_v2 is not used: the file is faceid-plusv2_sd15" in caplog.text


@pytest.mark.newest
def test_a_batch_gives_each_picture_its_face(adopted, native, photos):
    faces = random_faces(2)
    photos(faces)
    assert same(adopted("IPAAdapterFaceIDBatch"), native(faces.combined("one per image")), batch=4, sides=(1, 0)) < 1e-5


@pytest.mark.newest
@pytest.mark.parametrize("combine", ip_adapter.COMBINE[1:])
def test_combining(adopted, native, photos, combine, caplog):
    faces = random_faces(3)
    photos(faces)
    given = adopted(combine_embeds=combine)
    if combine != "subtract":
        assert same(given, native(faces.combined("average"))) < 1e-5
        assert ("is taken as 'average'" in caplog.text) == (combine != "average")
        return
    normed = faces.normed_identity
    left = FaceEmbeds((normed[:1] - normed[1:].mean(dim=0)) * 9, faces.clip_hidden[:1], faces.clip_hidden_zero)
    assert same(given, native(left)) < 1e-5


@pytest.mark.newest
def test_a_negative_picture_is_seen_by_the_unconditional_side(adopted, native, photos, monkeypatch):
    from dataclasses import replace

    from facegen.nodes.adopted import ip_adapter as nodes

    faces, states = random_faces(), random_faces(seed=8).clip_hidden
    photos(faces)
    monkeypatch.setattr(nodes, "encode_clip_vision", lambda clip, pictures: (states[: len(pictures)], None))
    given = adopted(image_negative=torch.rand(1, 8, 8, 3))
    assert same(given, native(replace(faces, clip_hidden_zero=states))) < 1e-5
    assert same(given, native(faces)) > 1e-4


def test_a_list_of_weights_is_refused_in_words(adopted, photos):
    photos(random_faces())
    with pytest.raises(FaceGenError, match=r"IPAdapter FaceID: weight is a list of 3 numbers.*Type it in\."):
        adopted(weight=[0.1, 0.2, 0.3])


def test_without_a_face_analysis(adopted, pipeline, photos):
    from dataclasses import replace

    with pytest.raises(
        FaceGenError, match="No face analysis is connected. Connect IPAdapter InsightFace Loader to insightface"
    ):
        adopted(ipadapter=replace(pipeline, face_analysis=None))


def test_faces_of_another_recogniser_say_what_to_choose(adopted, photos):
    photos(random_faces(faces=({"recogniser": "glintr100", "model_pack": "antelopev2"},)))
    with pytest.raises(
        WrongRecogniserError, match=r"^IPAdapter FaceID: .*glintr100.*Choose buffalo_l in the InsightFace loader"
    ):
        adopted()


# The loaders, on the small models of the tests' models folder.


@pytest.fixture(scope="module")
def loaded(run, checkpoint):
    return run("FaceGenAdoptedIPAdapterUnifiedLoaderFaceID", model=checkpoint[0], preset="FACEID PLUS V2", provider="CPU")


def test_a_preset_finds_its_files_by_what_they_hold(loaded, checkpoint):
    model, pipeline = loaded
    assert pipeline.adapter.variant.name == "faceid-plusv2_sd15" and pipeline.face_analysis.recogniser == "w600k_r50"
    assert pipeline.clip_vision.model.vision_model.embeddings.class_embedding.shape[-1] == 1024
    assert len(model.patches) > 0 and not checkpoint[0].patches  # the adapter's own LoRA


def test_a_preset_without_its_file_says_what_is_there(run, checkpoint):
    with pytest.raises(FaceGenError) as error:
        run("FaceGenAdoptedIPAdapterUnifiedLoaderFaceID", model=checkpoint[0], preset="FACEID", provider="CPU")
    assert str(error.value).startswith("IPAdapter Unified Loader FaceID: No faceid file for this model was found in ")
    assert "There is: ip-adapter-faceid-plusv2_sd15.bin (faceid-plusv2_sd15)" in str(error.value)


def test_a_provider_that_is_not_there_is_said(run, checkpoint, caplog):
    run("FaceGenAdoptedIPAdapterInsightFaceLoader", provider="ROCM", model_name="buffalo_l")
    assert "ONNX Runtime here has no ROCM provider" in caplog.text


def test_a_pack_that_is_not_there(run):
    with pytest.raises(FaceGenError, match="IPAdapter InsightFace Loader: InsightFace model pack 'antelopev2' not found"):
        run("FaceGenAdoptedIPAdapterInsightFaceLoader", provider="CPU", model_name="antelopev2")


def test_another_ip_adapter_says_which_pack_it_needs(run, folder_paths, base_directory):
    state = {"image_proj": {"proj.weight": torch.zeros(3072, 1024)}, "ip_adapter": {"1.to_k_ip.weight": torch.zeros(320, 768)}}
    file = save(state, base_directory / "models" / "ipadapter" / "ip-adapter_sd15.safetensors")
    try:
        with pytest.raises(
            FaceGenError, match=r"is not a FaceID adapter.*install cubiq/ComfyUI_IPAdapter_plus and use its own"
        ):
            run("FaceGenAdoptedIPAdapterModelLoader", ipadapter_file=file.name)
    finally:
        file.unlink()


def test_a_file_that_is_not_there(pack_nodes):
    said = pack_nodes["FaceGenAdoptedIPAdapterModelLoader"].validate_inputs("gone.bin")
    assert said.startswith("IPAdapter Model Loader: 'gone.bin' is not there.")


def test_the_whole_way_on_a_photo(run, loaded, checkpoint):
    from skimage import data

    photo = torch.from_numpy(data.astronaut()).float()[None] / 255
    model, crops = run(
        "FaceGenAdoptedIPAdapterFaceID", model=loaded[0], ipadapter=loaded[1], image=photo, **{**APPLY, "weight": 0.8}
    )
    assert crops.shape == (1, 224, 224, 3) and crops.std() > 0.05
    assert model.model_options["transformer_options"]["patches_replace"]["attn2"] and model is not loaded[0]


def test_what_is_installed_is_not_replaced_in_a_queued_graph(pack_nodes, monkeypatch):
    import nodes as comfy_nodes

    from facegen.nodes.adopted.replace import _adopt

    def adopted_ids():
        request = _adopt({"prompt": old_graphs.to_api(old_graphs.by_preset())})
        return {node["class_type"] for node in request["prompt"].values() if "IPAdapter" in node["class_type"]}

    assert all(name.startswith("FaceGenAdopted") for name in adopted_ids())
    for name in OLD:
        monkeypatch.setitem(comfy_nodes.NODE_CLASS_MAPPINGS, name, object)
    assert adopted_ids() == {"IPAdapterUnifiedLoaderFaceID", "IPAdapterFaceID"}
    assert _adopt({"prompt": [1]}) == {"prompt": [1]} and _adopt({}) == {}

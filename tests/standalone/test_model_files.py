"""Which files are taken from a models folder with checkpoints and adapters of all bases and methods."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from facegen.errors import FaceGenError, UnsupportedCheckpointError, WrongBaseModelError
from facegen.models.identity import raw_embedding
from facegen.standalone.model_files import MissingFiles, find_model_files
from faceid_files import faceid_state, save
from header_files import save_checkpoint, save_controlnet
from onnx_files import save_pack
from pulid_files import flux_state, sdxl_state
from pulid_files import save as save_pulid_file

FACES = [(0.3, 0.3, 0.6, 0.6, 0.9)]


def save_faceid(path, context):
    """Without a structure branch, so that any CLIP vision model does."""
    return save(faceid_state([8, 8], context, clip_dim=None, rank=2, inner=8), path)


def save_instantid(path):
    state = faceid_state([8, 8], 2048, rank=0, unnorm=True, depth=1, inner=64)
    return save(state, path, {"facegen.variant": "instantid"} if path.suffix == ".safetensors" else None)


@pytest.fixture
def models(tmp_path):
    """One checkpoint and one FaceID of each base, with what a portrait needs beside."""
    for name in ("checkpoints", "ipadapter", "instantid", "controlnet", "clip_vision"):
        (tmp_path / name).mkdir()
    save_checkpoint(tmp_path / "checkpoints" / "one_sd15.safetensors", "SD1.5")
    save_checkpoint(tmp_path / "checkpoints" / "one_sdxl.safetensors", "SDXL")
    save_faceid(tmp_path / "ipadapter" / "faceid_sd15.bin", 768)
    save_faceid(tmp_path / "ipadapter" / "faceid_sdxl.bin", 2048)
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(1280)}, tmp_path / "clip_vision" / "h.safetensors")
    save_pack(tmp_path / "insightface" / "models" / "buffalo_l", FACES)
    return tmp_path


def with_instantid(models):
    save_instantid(models / "instantid" / "ip-adapter.bin")
    save_controlnet(models / "controlnet" / "some name.safetensors")
    save_controlnet(models / "controlnet" / "sd15.safetensors", 768, None)
    pack = save_pack(models / "insightface" / "models" / "antelopev2", FACES)
    (pack / "w600k_r50.onnx").rename(pack / "glintr100.onnx")
    return models


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_of_several_adapters_the_one_for_the_checkpoint_is_taken(models, base):
    found = find_model_files(models, checkpoint=f"one_{base}.safetensors")
    assert (found.faceid.name, found.instantid, found.controlnet) == (f"faceid_{base}.bin", None, None)
    save_faceid(models / "ipadapter" / f"other_{base}.bin", {"sd15": 768, "sdxl": 2048}[base])
    with pytest.raises(FaceGenError, match=rf"--faceid: several were found. There are: faceid_{base}\.bin, other_{base}\.bin"):
        find_model_files(models, checkpoint=f"one_{base}.safetensors")


@pytest.mark.parametrize(("base", "other"), [("SD1.5", "SDXL"), ("SDXL", "SD1.5")])
def test_files_of_two_bases_are_refused_with_both_names(models, base, other):
    short = {"SD1.5": "sd15", "SDXL": "sdxl"}
    checkpoint, adapter = f"one_{short[base]}.safetensors", f"faceid_{short[other]}.bin"
    with pytest.raises(WrongBaseModelError, match=rf"{checkpoint}, which is {base} .*{adapter} is for {other} ") as named:
        find_model_files(models, checkpoint=checkpoint, faceid=adapter)
    (models / "ipadapter" / f"faceid_{short[base]}.bin").unlink()
    with pytest.raises(WrongBaseModelError) as alone:
        find_model_files(models, checkpoint=checkpoint)
    assert str(named.value) == str(alone.value)


def test_a_checkpoint_of_another_number_of_blocks_is_refused(models):
    """A distilled SDXL has fewer."""
    save_checkpoint(models / "checkpoints" / "distilled.safetensors", "SDXL", blocks=1)
    with pytest.raises(WrongBaseModelError, match=r"distilled\.safetensors, which is SDXL \(1 cross-attention blocks"):
        find_model_files(models, checkpoint="distilled.safetensors", faceid="faceid_sdxl.bin")


def test_other_bases_are_named(models):
    save_checkpoint(models / "checkpoints" / "two.safetensors", "SD2")
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, models / "checkpoints" / "flux.safetensors")
    needed = r"A checkpoint of SD1\.5 or SDXL is needed, or FLUX\.1 as a folder in diffusers' layout"
    for name, base in (("two", "SD2"), ("flux", "FLUX in one file")):
        with pytest.raises(UnsupportedCheckpointError, match=rf"{name}\.safetensors is {base}\. {needed}"):
            find_model_files(models, checkpoint=f"{name}.safetensors")


def test_faceid_comes_first_and_instantid_where_it_alone_fits(models):
    with_instantid(models)
    xl = {"checkpoint": "one_sdxl.safetensors"}
    assert find_model_files(models, **xl).faceid.name == "faceid_sdxl.bin"
    asked = find_model_files(models, method="instantid", **xl)
    assert asked.faceid is None and asked.clip_vision is None and asked.face_pack.name == "antelopev2"
    assert (asked.instantid.name, asked.controlnet.name) == ("ip-adapter.bin", "some name.safetensors")
    for names in ({"instantid": "ip-adapter.bin"}, {"controlnet": "some name.safetensors"}):
        assert find_model_files(models, **xl, **names) == asked
    (models / "ipadapter" / "faceid_sdxl.bin").unlink()
    assert find_model_files(models, **xl) == asked
    assert find_model_files(models, checkpoint="one_sd15.safetensors").faceid.name == "faceid_sd15.bin"
    with pytest.raises(WrongBaseModelError, match=r"No FaceID adapter fits the checkpoint one_sdxl\.safetensors"):
        find_model_files(models, method="faceid", **xl)


def test_instantid_is_known_among_ip_adapters_by_its_note_or_size(models, monkeypatch):
    with_instantid(models)
    (models / "instantid" / "ip-adapter.bin").unlink()
    save_instantid(models / "ipadapter" / "noted.safetensors")
    xl = {"method": "instantid", "checkpoint": "one_sdxl.safetensors"}
    assert find_model_files(models, **xl).instantid.name == "noted.safetensors"
    (models / "ipadapter" / "noted.safetensors").unlink()
    published = save_instantid(models / "ipadapter" / "published.bin")
    with pytest.raises(MissingFiles, match="lacks an InstantID adapter"):
        find_model_files(models, **xl)
    monkeypatch.setattr(raw_embedding, "INSTANTID_SIZE", published.stat().st_size)
    assert find_model_files(models, **xl).instantid.name == "published.bin"


def test_what_instantid_lacks_is_listed(models):
    """buffalo_l isn't enough: InstantID was trained with another recogniser."""
    (models / "checkpoints" / "one_sdxl.safetensors").rename(models / "checkpoints" / "xl.bin")
    with pytest.raises(MissingFiles) as told:
        find_model_files(models, method="instantid")
    assert told.value.kinds == ["instantid", "controlnet", "face_pack"] and told.value.method == "instantid"
    for what in ("instantid/ip-adapter.bin", "controlnet/instantid-controlnet.safetensors", "insightface/models/antelopev2/"):
        assert what in str(told.value)


def test_instantid_on_sd15_is_refused(models):
    with_instantid(models)
    with pytest.raises(
        WrongBaseModelError, match=r"InstantID was made for SDXL, and the checkpoint one_sd15\.safetensors is SD1\.5"
    ):
        find_model_files(models, method="instantid", checkpoint="one_sd15.safetensors")


def test_of_several_controlnets_it_is_that_of_sdxl_and_by_its_name(models):
    with_instantid(models)
    asked = {"method": "instantid", "checkpoint": "one_sdxl.safetensors"}
    save_controlnet(models / "controlnet" / "depth.safetensors")
    (models / "controlnet" / "broken.safetensors").write_bytes(b"<html>")
    with pytest.raises(FaceGenError, match=r"--controlnet: several were found. There are: depth\.safetensors, some name\.saf"):
        find_model_files(models, **asked)
    save_controlnet(models / "controlnet" / "my InstantID net.safetensors")
    assert find_model_files(models, **asked).controlnet.name == "my InstantID net.safetensors"
    save_controlnet(models / "controlnet" / "instantid-controlnet.safetensors")
    assert find_model_files(models, **asked).controlnet.name == "instantid-controlnet.safetensors"
    assert find_model_files(models, controlnet="depth.safetensors", **asked).controlnet.name == "depth.safetensors"
    for file in (models / "controlnet").glob("*[!5].safetensors"):
        file.unlink()
    with pytest.raises(WrongBaseModelError, match=r"no ControlNet for .*: sd15\.safetensors is a ControlNet for SD1\.5"):
        find_model_files(models, **asked)


def test_the_face_pack_of_each_method_where_there_are_both(models):
    with_instantid(models)
    xl = {"checkpoint": "one_sdxl.safetensors"}
    assert find_model_files(models, **xl).face_pack.name == "buffalo_l"
    assert find_model_files(models, method="instantid", face_pack="buffalo_l", **xl).face_pack.name == "buffalo_l"


# --- PuLID ----------------------------------------------------------------------------------------------------------


def with_pulid(models):
    """Its files for both bases, FLUX.1 in a folder, and other networks beside those that it needs."""
    for name in ("pulid", "facexlib", "checkpoints/flux"):
        (models / name).mkdir()
    save_pulid_file(sdxl_state([8, 8], 2048, depth=5), models / "pulid" / "pulid_v1.1.safetensors")
    save_pulid_file(flux_state(2), models / "pulid" / "pulid_flux_v0.9.1.safetensors")
    (models / "checkpoints" / "flux" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    for name in ("clip_vision/EVA02_CLIP_L_336_psz14_s6B.pt", "facexlib/parsing_bisenet.pth", "facexlib/detection.pth"):
        (models / name).touch()
    pack = save_pack(models / "insightface" / "models" / "antelopev2", FACES)
    (pack / "w600k_r50.onnx").rename(pack / "glintr100.onnx")
    return models


XL = {"checkpoint": "one_sdxl.safetensors"}


@pytest.mark.parametrize(
    ("checkpoint", "adapter"),
    [("one_sdxl.safetensors", "pulid_v1.1.safetensors"), ("flux", "pulid_flux_v0.9.1.safetensors")],
)
def test_the_pulid_file_for_the_checkpoint_is_taken_with_what_it_needs(models, checkpoint, adapter):
    found = find_model_files(with_pulid(models), method="pulid", checkpoint=checkpoint)
    assert (found.pulid.name, found.faceid, found.clip_vision, found.method) == (adapter, None, None, "pulid")
    assert (found.vision_tower.name, found.face_parsing.name) == ("EVA02_CLIP_L_336_psz14_s6B.pt", "parsing_bisenet.pth")
    assert found.face_pack.name == "antelopev2"
    named = find_model_files(models, checkpoint=checkpoint, pulid=adapter, vision_tower="h.safetensors")
    assert (named.pulid, named.vision_tower.name) == (found.pulid, "h.safetensors")
    other = ({"pulid_v1.1.safetensors", "pulid_flux_v0.9.1.safetensors"} - {adapter}).pop()
    with pytest.raises(
        WrongBaseModelError, match=rf"No PuLID adapter fits the checkpoint {checkpoint}, which is .*: {other} is"
    ):
        find_model_files(models, checkpoint=checkpoint, pulid=other)


def test_without_a_method_pulid_is_taken_where_it_alone_fits(models):
    with_instantid(models)
    shutil.rmtree(models / "insightface" / "models" / "antelopev2")
    with_pulid(models)
    assert find_model_files(models, checkpoint="flux").pulid.name == "pulid_flux_v0.9.1.safetensors"
    assert find_model_files(models, **XL).method == "faceid"
    (models / "ipadapter" / "faceid_sdxl.bin").unlink()
    assert find_model_files(models, **XL).method == "instantid"
    (models / "instantid" / "ip-adapter.bin").unlink()
    assert find_model_files(models, **XL).method == "pulid"
    (models / "pulid" / "pulid_v1.1.safetensors").rename(models / "ipadapter" / "ip-adapter_PuLID_v1.1.safetensors")
    assert find_model_files(models, **XL).pulid.name == "ip-adapter_PuLID_v1.1.safetensors"


def test_what_pulid_lacks_is_listed(models):
    with_pulid(models)
    for name in ("clip_vision/EVA02_CLIP_L_336_psz14_s6B.pt", "facexlib/parsing_bisenet.pth"):
        (models / name).unlink()
    shutil.rmtree(models / "insightface" / "models" / "antelopev2")
    with pytest.raises(MissingFiles) as told:
        find_model_files(models, method="pulid", **XL)
    assert told.value.kinds == ["vision_tower", "face_parsing", "face_pack"] and told.value.method == "pulid"
    for what in ("clip_vision/EVA02_CLIP_L_336_psz14_s6B.pt", "facexlib/parsing_bisenet.pth", "insightface/models/antelopev2/"):
        assert what in str(told.value)


def test_a_base_that_a_method_was_not_made_for_is_refused(models):
    with_instantid(models)
    shutil.rmtree(models / "insightface" / "models" / "antelopev2")
    with_pulid(models)
    asked = {
        (
            "pulid",
            "one_sd15.safetensors",
        ): r"PuLID was made for SDXL and FLUX\.1, and the checkpoint one_sd15\.safetensors is SD1",
        ("instantid", "flux"): r"InstantID was made for SDXL, and the checkpoint flux is FLUX\.1",
        ("faceid", "flux"): r"No FaceID adapter fits the checkpoint flux, which is FLUX\.1: faceid_sd15\.bin is for SD1\.5 \(",
    }
    for (method, checkpoint), says in asked.items():
        with pytest.raises(WrongBaseModelError, match=says):
            find_model_files(models, method=method, checkpoint=checkpoint)

"""The PuLID nodes: from a photo to a patched model, and what they say when something is missing."""

import shutil
from pathlib import Path

import comfy.model_management
import pytest
import torch
from comfy_execution.graph import ExecutionBlocker
from skimage import data

import comfy_flux
from facegen.errors import FaceGenError, MissingLibraryError, MissingStructureError, NotAnAdapterError, WrongRecogniserError
from faceid_files import random_faces, relative_error
from pulid_files import flux_state, save, sdxl_state, seen_faces
from structure_files import parsing_state, tower_state


@pytest.fixture(scope="module")
def models(folder_paths):
    """The models folder, with files for PuLID on the small FLUX."""
    root = Path(folder_paths.models_dir)
    for name in ("pulid", "facexlib"):
        (root / name).mkdir(exist_ok=True)
    save(flux_state(comfy_flux.LAYERS, comfy_flux.WIDTH, states=64), root / "pulid" / "flux.safetensors")
    save(sdxl_state([64, 128]), root / "ipadapter" / "my PuLID.safetensors")
    torch.save(tower_state(), root / "clip_vision" / "EVA.pt")
    torch.save(parsing_state(), root / "facexlib" / "bisenet.pth")
    yield root
    # The folders stay: ComfyUI looks into one that it has listed once.
    for name in ("pulid/flux.safetensors", "facexlib/bisenet.pth", "ipadapter/my PuLID.safetensors", "clip_vision/EVA.pt"):
        (root / name).unlink()


@pytest.fixture
def photo():
    return torch.from_numpy(data.astronaut()).float()[None] / 255


@pytest.fixture
def antelope(face_analysis, monkeypatch):
    """The face analysis, as if its recogniser were antelopev2's."""
    monkeypatch.setattr(face_analysis, "recogniser", "glintr100")
    return face_analysis


def test_from_a_photo_to_a_model(run, models, antelope, photo):
    pytest.importorskip("timm")
    structure = run("FaceGenLoadFaceStructure", vision_file="EVA.pt", parsing_file="bisenet.pth")[0]
    outputs = run("FaceGenEmbedFace", face_analysis=antelope, image=photo, face_structure=structure)
    faces, shown = outputs[0], outputs[-1]
    assert faces.structure_pooled.shape == (1, 40) and faces.structure_hidden.shape == (1, 5, 577, 64)
    assert shown.shape == (1, 512, 512, 3) and (shown == 1).any() and (shown[..., 0] == shown[..., 2]).all()
    pulid = run("FaceGenLoadPuLID", pulid_file="flux.safetensors")[0]
    model = comfy_flux.flux()
    patched = run("FaceGenApplyPuLID", model=model, pulid=pulid, face_embeds=faces)[0]
    x = comfy_flux.latents()
    with_face, without = comfy_flux.evaluate(patched, x), comfy_flux.evaluate(model, x)
    assert with_face.isfinite().all() and relative_error(with_face, without) > 0.01
    weak = run("FaceGenApplyPuLID", model=model, pulid=pulid, face_embeds=faces, weight=0.0)[0]
    assert torch.equal(comfy_flux.evaluate(weak, x), without)


def test_the_networks_are_under_the_hosts_memory_management(run, models, antelope, photo):
    pytest.importorskip("timm")
    structure = run("FaceGenLoadFaceStructure", vision_file="EVA.pt", parsing_file="bisenet.pth")[0]
    run("FaceGenEmbedFace", face_analysis=antelope, image=photo, face_structure=structure)
    held = [loaded.model.model for loaded in comfy.model_management.current_loaded_models if loaded.model]
    assert structure.parsing in held and structure.tower in held


def test_without_face_structure_nothing_is_shown(run, face_analysis, photo):
    """A node that wants the picture all the same says what to connect."""
    blocked = run("FaceGenEmbedFace", face_analysis=face_analysis, image=photo)[-1]
    assert isinstance(blocked, ExecutionBlocker) and "Connect Load Face Structure to face_structure" in blocked.message


def test_the_lists_of_files(models, pack_nodes):
    options = {
        i.id: i.options for node in ("PuLID", "FaceStructure") for i in pack_nodes[f"FaceGenLoad{node}"].GET_SCHEMA().inputs
    }
    assert options["pulid_file"] == ["my PuLID.safetensors", "flux.safetensors"]  # FaceID's files aren't among them
    assert options["vision_file"][0] == "EVA.pt" and "vit_l.safetensors" in options["vision_file"]
    assert options["parsing_file"] == ["bisenet.pth"]


def test_files_that_are_not_there(pack_nodes, run, models):
    pulid, structure = pack_nodes["FaceGenLoadPuLID"], pack_nodes["FaceGenLoadFaceStructure"]
    said = pulid.validate_inputs("pulid_v1.1.safetensors")
    assert "'pulid_v1.1.safetensors' is not there" in said and "models download pulid-v1.1`" in said
    assert "huggingface.co/guozinan/PuLID/resolve/main/pulid_v1.1.safetensors" in said
    assert "found my PuLID.safetensors, flux.safetensors" in said
    assert pulid.validate_inputs("flux.safetensors") is True
    assert "models download eva02-clip-l-336`" in structure.validate_inputs("missing: EVA", "bisenet.pth")
    assert "models download face-parsing`" in structure.validate_inputs("EVA.pt", "no.pth")
    assert structure.validate_inputs("EVA.pt", "bisenet.pth") is True
    with pytest.raises(FaceGenError, match="Load PuLID: 'x' is not there"):
        run("FaceGenLoadPuLID", pulid_file="x")


def test_files_of_another_kind(run, models):
    shutil.copy(models / "ipadapter" / "ip-adapter-faceid-plusv2_sd15.bin", models / "pulid" / "faceid.bin")
    with pytest.raises(
        NotAnAdapterError, match=r"Load PuLID: .*neither of PuLID's encoders\. Choose a file such as pulid_v1\.1"
    ):
        run("FaceGenLoadPuLID", pulid_file="faceid.bin")
    pytest.importorskip("timm")
    with pytest.raises(FaceGenError, match=r"not the vision tower.*Choose EVA02_CLIP_L_336_psz14_s6B\.pt as vision_file"):
        run("FaceGenLoadFaceStructure", vision_file="vit_l.safetensors", parsing_file="bisenet.pth")


def test_without_timm(run, models, monkeypatch):
    from facegen.models.face.structure import tower

    def missing():
        raise MissingLibraryError("PuLID's vision tower needs the library timm.")

    monkeypatch.setattr(tower, "_timm", missing)
    with pytest.raises(
        MissingLibraryError, match="Load Face Structure: .* timm. Install it into ComfyUI's own Python with pip"
    ):
        run("FaceGenLoadFaceStructure", vision_file="EVA.pt", parsing_file="bisenet.pth")


def test_faces_that_lack_what_is_read(run, models):
    model, pulid = comfy_flux.flux(), run("FaceGenLoadPuLID", pulid_file="flux.safetensors")[0]
    with pytest.raises(
        MissingStructureError, match=r"Apply PuLID: .*Connect Load Face Structure to face_structure of the Embed"
    ):
        run("FaceGenApplyPuLID", model=model, pulid=pulid, face_embeds=random_faces(clip=None))
    other = seen_faces(states=64, faces=({"recogniser": "w600k_r50", "model_pack": "buffalo_l"},))
    with pytest.raises(
        WrongRecogniserError, match=r"glintr100 \(model pack antelopev2\) is needed.*choose the pack in Load Face"
    ):
        run("FaceGenApplyPuLID", model=model, pulid=pulid, face_embeds=other)
    with pytest.raises(FaceGenError, match=r"Apply PuLID: start_percent 0\.5 lies after end_percent 0\.2"):
        settings = {"start_percent": 0.5, "end_percent": 0.2}
        run("FaceGenApplyPuLID", model=model, pulid=pulid, face_embeds=seen_faces(states=64), **settings)

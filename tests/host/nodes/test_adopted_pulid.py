"""Nodes that stand in for PuLID_ComfyUI's and the PuLID-Flux packs': what they give, by our own node."""

from pathlib import Path

import pytest
import torch

import comfy_flux
import comfy_unets
from facegen.adoption.packs import pulid as old
from facegen.errors import FaceGenError
from facegen.models.face.analysis import aligned_crop, to_bgr
from facegen.models.identity.pulid.adapter import PulidAdapter
from faceid_files import relative_error
from pulid_files import flux_state, save, sdxl_state, seen_faces

BLOCKS = {"channel_mult": (1,), "num_res_blocks": [1], "transformer_depth": [1], "transformer_depth_output": [1, 1]}
SMALL = {**BLOCKS, "model_channels": 64, "transformer_depth_middle": 1}
COMMON = {"image": torch.zeros(1, 8, 8, 3), "face_analysis": "analysis", "start_at": 0.0, "end_at": 1.0, "weight": 0.9}


class Structure:
    look = None


@pytest.fixture(scope="module")
def sdxl():
    return comfy_unets.sdxl(**SMALL)


@pytest.fixture(scope="module")
def flux():
    return comfy_flux.flux()


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pulid")
    states = {"sdxl": sdxl_state([64] * 4, 2048, depth=5), "flux": flux_state(comfy_flux.LAYERS, comfy_flux.WIDTH)}
    return {name: PulidAdapter(save(state, folder / f"{name}.safetensors")) for name, state in states.items()}


@pytest.fixture
def asked(monkeypatch, pack_nodes):
    """Lets every picture show the same faces; gives what the photos were embedded with."""
    from facegen.models.face.photo_to_embeds import EmbeddedPhotos
    from facegen.nodes.adopted import pulid

    seen, nothing = [], torch.zeros(1)
    monkeypatch.setattr(
        pulid, "embed_photos", lambda *_, **how: seen.append(how) or EmbeddedPhotos(seen_faces(), nothing, nothing, {}, nothing)
    )
    return seen


def on_sdxl(patcher):
    given = comfy_unets.xl_inputs()
    return comfy_unets.predict(patcher, given.x, given.context, y=given.y)


def on_flux(patcher):
    return comfy_flux.evaluate(patcher, comfy_flux.latents())


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("fidelity", {"projection": "orthogonal v2", "num_zero": 8}),
        ("style", {"projection": "orthogonal v1", "num_zero": 16}),
        ("neutral", {"projection": "plain", "num_zero": 0}),
    ],
)
def test_methods_are_projections_and_empty_tokens(run, sdxl, adapters, asked, method, settings):
    given = {"model": sdxl, "pulid": adapters["sdxl"], "eva_clip": Structure(), **COMMON}
    adopted = run("FaceGenAdoptedApplyPulid", **given, method=method)[0]
    native = {"model": sdxl, "pulid": adapters["sdxl"], "face_embeds": seen_faces(), "weight": 0.9}
    ours = on_sdxl(run("FaceGenApplyPuLID", **native, **settings)[0])
    assert torch.equal(on_sdxl(adopted), ours)
    names = {ours: theirs for theirs, ours in old.PROJECTIONS.items()}
    advanced = {"projection": names[settings["projection"]], "fidelity": settings["num_zero"]}
    assert torch.equal(on_sdxl(run("FaceGenAdoptedApplyPulidAdvanced", **given, **advanced)[0]), ours)
    other = {**settings, "num_zero": settings["num_zero"] + 4}
    assert relative_error(on_sdxl(run("FaceGenApplyPuLID", **native, **other)[0]), ours) > 1e-5
    assert asked[0]["combine"] == "average" and asked[0]["skip"] and asked[0]["select"] == "largest"


def test_noise_is_said(run, sdxl, adapters, asked, caplog):
    given = {"model": sdxl, "pulid": adapters["sdxl"], "eva_clip": Structure(), **COMMON}
    run("FaceGenAdoptedApplyPulidAdvanced", **given, projection="ortho", noise=0.3)
    assert "noise 0.3 is not used" in caplog.text


def test_flux_is_what_our_own_node_makes(run, flux, adapters, asked, caplog):
    given = {"model": flux, "pulid_flux": adapters["flux"], "eva_clip": Structure(), **COMMON}
    native = run("FaceGenApplyPuLID", model=flux, pulid=adapters["flux"], face_embeds=seen_faces(), weight=0.9)[0]
    adopted = run("FaceGenAdoptedApplyPulidFlux", **given)[0]
    assert torch.equal(on_flux(adopted), on_flux(native)) and relative_error(on_flux(adopted), on_flux(flux)) > 0.01
    assert not caplog.text  # the two packs without fusion say nothing of it
    several = {**given, "image": torch.zeros(2, 8, 8, 3)}
    run("FaceGenAdoptedApplyPulidFlux", **several, fusion="concat")
    run("FaceGenAdoptedApplyPulidFlux", **several, fusion="max_token", use_gray=False)
    assert [how["combine"] for how in asked] == ["average", "concat", "average"]
    assert "fusion 'max_token' is taken as 'mean'" in caplog.text and "use_gray off is not used" in caplog.text


@pytest.mark.parametrize(
    ("order", "index", "select"),
    [("large-small", 0, ("largest", 0)), ("left-right", 2, ("by index", 2)), ("right-left", 0, ("rightmost", 0))],
)
def test_the_chosen_face(run, flux, adapters, asked, order, index, select):
    options = run("FaceGenAdoptedPulidFluxOptions", input_faces_order=order, input_faces_index=index)[0]
    given = {"model": flux, "pulid_flux": adapters["flux"], "eva_clip": Structure(), **COMMON}
    run("FaceGenAdoptedApplyPulidFlux", **given, options=options)
    assert (asked[0]["select"], asked[0]["face_index"]) == select


def test_a_face_that_cannot_be_chosen_is_said(run, caplog):
    assert run("FaceGenAdoptedPulidFluxOptions", input_faces_order="small-large")[0].select == "largest"
    assert "face number 0 in the order 'small-large' can't be chosen" in caplog.text


def test_the_chosen_face_is_shown(run, face_analysis, astronaut, caplog):
    """Cut out with a margin, turned upright, marked; a photo without a face is left out."""
    found = sorted(face_analysis.detect(to_bgr(astronaut[0])), key=lambda face: face.bbox[0])
    assert len(found) == 2
    for index, face in enumerate(found):
        options = run("FaceGenAdoptedPulidFluxOptions", input_faces_order="left-right", input_faces_index=index)[0]
        given = {
            "face_analysis": face_analysis,
            "image": torch.cat([torch.zeros_like(astronaut), astronaut]),
            "options": options,
        }
        (cut,), (upright,), (marked,) = run("FaceGenAdoptedPulidFluxFaceDetector", **given)
        x0, y0, x1, y1 = (int(side) for side in face.bbox)
        assert torch.equal(cut, astronaut[:, max(0, y0 - 10) : y1 + 10, max(0, x0 - 10) : x1 + 10])
        assert torch.equal(upright[0], aligned_crop(to_bgr(astronaut[0]), face, 512)) and upright.shape == (1, 512, 512, 3)
        assert marked.shape == astronaut.shape and not torch.equal(marked, astronaut)
    given["image"] = torch.zeros_like(astronaut)
    assert run("FaceGenAdoptedPulidFluxFaceDetector", **given) == ([], [], []) and "there is none to show" in caplog.text


def test_what_has_nothing_to_mend(run, flux):
    assert run("FaceGenAdoptedFixPulidFluxPatch", model=flux)[0] is flux


@pytest.fixture
def models(folder_paths):
    from structure_files import parsing_state, tower_state

    root = Path(folder_paths.models_dir)
    for name in ("pulid", "facexlib"):
        (root / name).mkdir(exist_ok=True)
    save(flux_state(comfy_flux.LAYERS, comfy_flux.WIDTH, states=64), root / "pulid" / "flux.safetensors")
    torch.save(tower_state(), root / "clip_vision" / "EVA.pt")
    torch.save(parsing_state(), root / "facexlib" / "bisenet.pth")
    folder_paths.filename_list_cache.clear()
    yield root
    # The folders stay: ComfyUI looks into one that it has listed once.
    for name in ("pulid/flux.safetensors", "facexlib/bisenet.pth", "clip_vision/EVA.pt"):
        (root / name).unlink()
    folder_paths.filename_list_cache.clear()


def test_from_the_loaders_to_a_model(run, models, face_analysis, flux, monkeypatch):
    """The networks that see the face are found by their folders: the old node asks for no file."""
    pytest.importorskip("timm")
    from skimage import data

    monkeypatch.setattr(face_analysis, "recogniser", "glintr100")
    structure = run("FaceGenAdoptedPulidFluxEvaClipLoader")[0]
    assert structure.look and run("FaceGenAdoptedPulidEvaClipLoader")[0].look
    pulid = run("FaceGenAdoptedPulidFluxModelLoader", pulid_file="flux.safetensors")[0]
    photo = torch.from_numpy(data.astronaut()).float()[None] / 255
    given = {**COMMON, "image": photo, "face_analysis": face_analysis}
    patched = run("FaceGenAdoptedApplyPulidFlux", model=flux, pulid_flux=pulid, eva_clip=structure, **given)[0]
    assert relative_error(on_flux(patched), on_flux(flux)) > 0.01


def test_what_is_missing(run, pack_nodes, folder_paths):
    folder_paths.filename_list_cache.clear()
    with pytest.raises(FaceGenError, match=r"^Load Eva Clip \(PuLID\): .*models download .*download into that folder"):
        run("FaceGenAdoptedPulidEvaClipLoader")
    with pytest.raises(FaceGenError, match="^Load PuLID Model: 'gone.bin' is not there"):
        run("FaceGenAdoptedPulidModelLoader", pulid_file="gone.bin")
    assert "is not there" in pack_nodes["FaceGenAdoptedPulidFluxModelLoader"].validate_inputs("gone.bin")
    with pytest.raises(FaceGenError, match=r"Load InsightFace \(PuLID\): InsightFace model pack 'antelopev2' not found"):
        run("FaceGenAdoptedPulidInsightFaceLoader", provider="CPU")

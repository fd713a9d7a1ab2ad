"""Safety nodes inside ComfyUI."""

import importlib.machinery
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facegen.contract import SAFETY_CHECKER_TYPES
from facegen.errors import FaceGenError, NoVerdictError
from facegen.models.safety.checking import Detection, SafetyResult
from facegen.models.safety.redaction import REGIONS
from pictures import SAFE, DetailChecker, StubChecker

UNSAFE = SafetyResult(0.9, [Detection("PART", 0.9, (100, 100, 200, 200))], {"PART": 0.9})
NAMES = ("nudenet", "concepts.safetensors", "detector")
EACH_TYPE = pytest.mark.parametrize("safety_checker_type", SAFETY_CHECKER_TYPES)


@pytest.fixture(scope="module")
def checker(run):
    return run("FaceGenLoadSafetyChecker", checker="nudenet", provider="CPU")[0]


def test_a_safe_photo_passes_bit_for_bit(run, checker, astronaut):
    image, mask, any_flagged, report = run("FaceGenSafetyFilter", image=astronaut, safety_checker=checker)
    assert torch.equal(image, astronaut) and image.dtype == astronaut.dtype
    assert image is not astronaut and image.data_ptr() != astronaut.data_ptr()
    assert mask.shape == (1, 512, 512) and not mask.any()
    assert any_flagged is False
    report = json.loads(report)
    assert (report["checker"], report["threshold"]) == ("nudenet", 0.4)
    (picture,) = report["pictures"]
    assert picture["flagged"] is False and picture["score"] == 0 and picture["detections"] == []
    assert "FACE_FEMALE" in picture["class_scores"]


def test_threshold_zero_hides_a_safe_photo(run, checker, astronaut):
    image, mask, any_flagged, _ = run("FaceGenSafetyFilter", image=astronaut, safety_checker=checker, threshold=0.0)
    assert not image.any() and mask.all() and any_flagged is True


@pytest.mark.parametrize("region", REGIONS)
@EACH_TYPE
def test_only_the_flagged_picture_of_a_batch_is_hidden(run, astronaut, safety_checker_type, region):
    batch = torch.cat([astronaut, astronaut.flip(2), astronaut.flip(1)])
    before = batch.clone()
    stub = StubChecker(SafetyResult(0.1), UNSAFE, SafetyResult(0.0), SAFE)  # the last for what was hidden
    image, mask, any_flagged, report = run(
        "FaceGenSafetyFilter", image=batch, safety_checker=stub, safety_checker_type=safety_checker_type, region=region
    )
    expected = torch.zeros(3, 512, 512)
    if region == "whole image":
        expected[1] = 1
    else:
        expected[1, 90:210, 90:210] = 1
    assert torch.equal(batch, before)
    assert image.shape == batch.shape and image.dtype == batch.dtype
    assert mask.dtype == torch.float32 and torch.equal(mask, expected)
    hidden = mask.bool()
    assert torch.equal(image[~hidden], batch[~hidden])
    assert (image[hidden] != batch[hidden]).float().mean() > 0.8
    assert any_flagged is True
    assert [picture["flagged"] for picture in json.loads(report)["pictures"]] == [False, True, False]


def test_an_error_of_the_checker_stops_the_run(run, astronaut):
    with pytest.raises(RuntimeError, match="no verdict"):
        run("FaceGenSafetyFilter", image=astronaut, safety_checker=StubChecker(error=RuntimeError("no verdict")))


def test_a_checker_that_skips_a_picture_stops_the_run(run, astronaut):
    with pytest.raises(FaceGenError, match="^Safety Filter: .*0 of 1"):
        run("FaceGenSafetyFilter", image=astronaut, safety_checker=StubChecker())


def test_a_model_that_gives_no_number_is_named_with_the_cure(run, astronaut):
    stub = StubChecker(error=NoVerdictError("NudeNet's model gave NaN or infinity, so no picture was let through."))
    with pytest.raises(NoVerdictError, match="^Safety Filter: NudeNet's .* provider CPU on Load Safety Checker"):
        run("FaceGenSafetyFilter", image=astronaut, safety_checker=stub)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 64, 64, 3), float("nan")), "NaN.*another VAE, or start ComfyUI with --fp32-vae"),
        (torch.zeros(1, 64, 64, 1), r"\[1, 64, 64, 1\].*Convert Mask to Image"),
        (torch.zeros(1, 64, 64, 4), r"\[1, 64, 64, 4\].*Split Image with Alpha"),
        (torch.zeros(1, 64, 64), r"\[1, 64, 64\].*Convert Mask to Image"),
        (torch.zeros(0, 64, 64, 3), r"empty.*the node that made it"),
        (torch.zeros(1, 3, 64, 64), r"\[1, 3, 64, 64\].*Load Image"),
    ],
    ids=["NaN", "1 channel", "4 channels", "mask", "empty", "channels first"],
)
def test_pictures_that_cannot_be_judged(run, checker, image, message):
    for each in (checker, StubChecker(SafetyResult(0.0))):
        with pytest.raises(FaceGenError, match=f"^Safety Filter: .*{message}"):
            run("FaceGenSafetyFilter", image=image, safety_checker=each)


@pytest.fixture(scope="module", params=NAMES[1:])
def network_checker(run, request):
    return run("FaceGenLoadSafetyChecker", checker=request.param)[0]


def loaded():
    """The networks that ComfyUI has on its device."""
    import comfy.model_management

    return [entry.model.model for entry in comfy.model_management.current_loaded_models if entry.model]


def test_networks_are_under_the_hosts_memory_management(network_checker, astronaut):
    import comfy.model_management

    comfy.model_management.unload_all_models()
    batch = torch.cat([astronaut, 1 - astronaut])
    before = network_checker.check(batch)
    (network,) = loaded()
    assert network.device == comfy.model_management.get_torch_device()
    del network
    comfy.model_management.unload_all_models()
    assert loaded() == []
    assert network_checker.check(batch) == before


def test_presets_and_labels_reach_the_checker(run, folder_paths, astronaut):
    def scores(**inputs):
        checker = run("FaceGenLoadSafetyChecker", **inputs)[0]
        return checker.name, checker.check(astronaut)[0].score

    names, found = zip(*(scores(checker="detector", preset=p) for p in ("strict", "default", "lenient")), strict=True)
    assert names == ("detector strict", "detector", "detector lenient")
    assert found[0] > found[1] > found[2]
    unsafe, safe = (scores(checker="detector", unsafe_labels=label)[1] for label in ("nsfw", " normal ,"))
    assert unsafe == found[1] != safe
    with pytest.raises(
        FaceGenError, match="^Load Safety Checker: .*no label gore. It has: normal, nsfw. Write .* unsafe_labels"
    ):
        scores(checker="detector", unsafe_labels="gore")
    with pytest.raises(FaceGenError, match="'gone'.*safety_checker"):
        scores(checker="gone")


def test_without_any_checker_the_loader_says_what_to_do(run, pack_nodes, folder_paths, monkeypatch, tmp_path):
    def options():
        (checker, *_) = node.GET_SCHEMA().inputs
        return checker.options

    node, find_spec = pack_nodes["FaceGenLoadSafetyChecker"], importlib.util.find_spec
    assert options() == list(NAMES) and all(node.validate_inputs(name) is True for name in NAMES)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "nudenet" else find_spec(name, *rest))
    assert options() == list(NAMES[1:])
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "safety_checker", ([str(tmp_path)], set()))
    (entry,) = options()
    assert entry.startswith("missing: nudenet") and "pip install -U nudenet" in entry
    for value in (entry, "nudenet"):
        said = node.validate_inputs(value)
        assert str(tmp_path) in said and "pip install -U nudenet" in said and ("no file is chosen" in said) is (value == entry)
    with pytest.raises(FaceGenError, match="missing: nudenet"):
        run("FaceGenLoadSafetyChecker", checker=entry)
    with pytest.raises(
        FaceGenError, match="^Load Safety Checker: .*not installed.*Run `pip install -U nudenet` with ComfyUI's own"
    ):
        run("FaceGenLoadSafetyChecker", checker="nudenet")


def test_a_broken_file_is_named_with_the_cure(run, folder_paths, monkeypatch, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"no tensors")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "safety_checker", ([str(tmp_path)], set()))
    with pytest.raises(FaceGenError, match=r"^Load Safety Checker: .*cut\.safetensors can't be read.* as they were published"):
        run("FaceGenLoadSafetyChecker", checker="cut.safetensors")


def test_a_broken_nudenet_is_named_with_the_cure(run, monkeypatch, tmp_path):
    spec = importlib.machinery.ModuleSpec("nudenet", None)
    spec.submodule_search_locations = [str(tmp_path)]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: spec if name == "nudenet" else find_spec(name, *rest))
    with pytest.raises(FaceGenError, match="^Load Safety Checker: .*320n.onnx.*--force-reinstall nudenet.*provider CPU"):
        run("FaceGenLoadSafetyChecker", checker="nudenet")


@pytest.mark.parametrize(("unsafe_when", "expected"), [("any", True), ("all", False)])
def test_combining(run, checker, astronaut, unsafe_when, expected):
    stub = StubChecker(UNSAFE, SAFE)
    both = run("FaceGenCombineSafetyCheckers", safety_checker_1=checker, safety_checker_2=stub, unsafe_when=unsafe_when)[0]
    image, _, any_flagged, report = run("FaceGenSafetyFilter", image=astronaut, safety_checker=both)
    assert any_flagged is expected and (not image.any()) is expected
    report = json.loads(report)
    assert report["checker"] == f"{unsafe_when} of: nudenet, stub"
    assert report["pictures"][0]["checkers"] == {"nudenet": 0.0, "stub": 0.9}


def test_combining_all_three_kinds(run, astronaut):
    loaded = [run("FaceGenLoadSafetyChecker", checker=name)[0] for name in NAMES]
    inputs = {f"safety_checker_{n}": each for n, each in enumerate(loaded, 1)}
    both = run("FaceGenCombineSafetyCheckers", **inputs, safety_checker_4=None)[0]
    report = json.loads(run("FaceGenSafetyFilter", image=astronaut, safety_checker=both, safety_checker_type="blur")[3])
    assert set(report["pictures"][0]["checkers"]) == set(NAMES)


def test_the_notice_says_what_is_asked(run, astronaut):
    shown = [
        run(
            "FaceGenSafetyFilter",
            image=astronaut,
            safety_checker=StubChecker(UNSAFE, SAFE),
            notice=notice,
            safety_checker_type="sensitive_content_text",
        )[0]
        for notice in ("Hidden", "Hidden", "Not here")
    ]
    assert torch.equal(shown[0], shown[1]) and not torch.equal(shown[0], shown[2])
    with pytest.raises(FaceGenError, match="notice is empty"):
        run("FaceGenSafetyFilter", image=astronaut, safety_checker=StubChecker(SAFE), notice=" ")


@EACH_TYPE
def test_saved_by_the_host_a_redaction_holds_nothing_of_the_picture(run, folder_paths, tmp_path, safety_checker_type):
    """From a file with EXIF, colour profile and alpha, through the stock nodes, to a PNG."""
    import nodes

    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (64, 64, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010E] = "a description that must not survive"
    Image.fromarray(original).save(folder_paths.get_input_directory() + "/secret.png", exif=exif)
    (image, _) = nodes.LoadImage().load_image("secret.png")
    choices = {"safety_checker": DetailChecker(), "safety_checker_type": safety_checker_type}
    hidden = run("FaceGenSafetyFilter", image=image, **choices)
    assert hidden[2] is True
    saved = nodes.SaveImage().save_images(hidden[0], "redacted", prompt={"1": {}})["ui"]["images"][0]
    path = folder_paths.get_output_directory() + "/" + saved["filename"]
    written = Path(path).read_bytes()
    with Image.open(path) as png:
        assert png.mode == "RGB" and not png.getexif() and set(png.info) == {"prompt"}
        pixels = {tuple(p) for p in np.asarray(png).reshape(-1, 3).tolist()}
    assert len(pixels & {tuple(p) for p in original[..., :3].reshape(-1, 3).tolist()}) <= 1
    assert b"must not survive" not in written and written.endswith(b"IEND\xaeB`\x82")
    for row in original:
        assert row.tobytes() not in written and row[:, :3].tobytes() not in written

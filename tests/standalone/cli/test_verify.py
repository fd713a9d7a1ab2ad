"""`verify` as a user runs it: on the tiny model, on small files in the published formats; lacking, broken and stopped."""

import json
import os
import platform
import re
import shutil
import weakref
from pathlib import Path
from statistics import mean

import pytest
import torch
from PIL import Image

from facegen.models.face.recognisers import TINY as TINY_RECOGNISER
from facegen.standalone.checkpoints import opening
from facegen.standalone.cli import generate as generate_command
from facegen.standalone.cli.main import main
from facegen.standalone.cli.verify import command, drawing, trial
from facegen.standalone.cli.verify.ways import WAYS
from facegen.standalone.engine import Engine
from facegen.standalone.sampling.flux import Flux
from real_format_models import save_all_models

FILES = ["verify.json", "verify.md", "verify.png"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Every method on every base, in a folder whose name nobody should read."""
    folder = tmp_path_factory.mktemp("secret person") / "models"
    folder.mkdir()
    return save_all_models(folder, tmp_path_factory.mktemp("scratch"))


def at_most(number, monkeypatch):
    """So many steps, however many are asked for."""
    scheduler = opening.DPMSolverMultistepScheduler
    set_timesteps, set_steps = scheduler.set_timesteps, Flux._set_steps
    monkeypatch.setattr(scheduler, "set_timesteps", lambda self, steps, **more: set_timesteps(self, min(number, steps), **more))
    monkeypatch.setattr(Flux, "_set_steps", lambda self, steps, patches: set_steps(self, min(number, steps), patches))


@pytest.fixture
def few(monkeypatch):
    at_most(2, monkeypatch)


@pytest.fixture
def verify(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own; gives its exit code, what it printed and what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = main(["verify", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        written = capsys.readouterr()
        return code, written.out, written.err

    return run


@pytest.fixture
def small(verify, few):
    """Of small pictures and few of them."""
    return lambda *arguments: verify("--size", 64, "--quick", *arguments)


@pytest.fixture
def smallest(small, monkeypatch):
    """As few as there can be: one style with the face and without, and one more value of s_scale."""
    monkeypatch.setattr(drawing, "QUICK_STYLES", drawing.QUICK_STYLES[:1])
    monkeypatch.setattr(drawing, "QUICK_S_SCALES", drawing.QUICK_S_SCALES[:1])
    return small


def report(folder="out"):
    """What was written, and that nothing else was."""
    assert sorted(file.name for file in Path(folder).iterdir()) == FILES
    return json.loads(Path(folder, "verify.json").read_text(encoding="utf-8"))


def by_name(found):
    return {method["name"]: method for method in found["methods"]}


# --- the tiny model ---------------------------------------------------------------------------------------------------


def test_the_tiny_model_shows_the_face_it_was_given(verify, monkeypatch):
    """Really sampled, in steps that decide who it is: with the face the recogniser knows the person, without it it doesn't."""
    at_most(5, monkeypatch)
    code, printed, said = verify("--models", "tiny", "--quick")
    assert code == 0, said
    found = report()
    (made,) = found["methods"]
    assert made["state"] == "ran" and made["recogniser"] == "w_tiny" and made["adapter"].startswith("faceid-plusv2")
    asked = {name: found["asked"][name] for name in ("width", "height", "num_inference_steps")}
    assert asked == {name: generate_command.TINY_DEFAULTS[name] for name in asked}
    nowhere = {"cosine": -1.0}  # without a face to show, or its structure, a picture may have none that is known
    alike = {(p["with_face"], p["style"], p["s_scale"]): (p["likeness"] or nowhere)["cosine"] for p in made["pictures"]}
    assert len(alike) == 2 + 2 + 2  # two styles, each with the face and without, and two more values of s_scale
    shown, nobody = ([c for (face, _, s), c in alike.items() if face is is_face and s >= 1] for is_face in (True, False))
    assert len(shown) == 3
    assert max(nobody) + 0.2 < min(shown) and max(nobody) < TINY_RECOGNISER.same_person < mean(shown), alike
    checks = made["pictures"][0]["portrait_check"]["checks"]
    assert {"size", "sharpness", "turn", "inside", "shoulders", "exposure"} == checks.keys()
    assert made["seconds_per_step"] > 0 and len(made["overhead"]["of_pairs"]) == 2
    assert made["memory"]["of"] == "process" and made["memory"]["highest"] >= made["memory"]["held"] > 1e8
    assert {file["check"] for file in found["files"]} == {"as shipped with the pack (SHA-256)"}
    assert re.search(r"ok +FaceID, SD1.5 +likeness \d+ % .*, without the face \d+ % .*; [\d.]+ s a step, .*GiB", printed)
    assert "Nothing was sent" in said and "verify.png, verify.md, verify.json" in said


def test_the_tiny_model_knows_faceid_alone(verify):
    code, _, said = verify("--models", "tiny", "--methods", "instantid")
    assert code == 2 and "The tiny model knows FaceID alone" in said and not Path("out").exists()


# --- files of the published formats -----------------------------------------------------------------------------------


@pytest.mark.timm
def test_every_method_whose_files_are_here_is_tried(small, models):
    code, printed, said = small("--models", models)
    assert code == 0, printed + said
    found = by_name(report())
    assert {name: made["state"] for name, made in found.items()} == dict.fromkeys(
        ("FaceID, SD1.5", "FaceID, SDXL", "InstantID, SDXL", "PuLID, SDXL", "PuLID, FLUX.1"), "ran"
    )
    for name, made in found.items():
        faceid = name.startswith("FaceID")
        assert made["recogniser"] == ("w600k_r50" if faceid else "glintr100")
        assert len({p["s_scale"] for p in made["pictures"]}) == (3 if faceid else 1)
        assert len(made["pictures"]) == (6 if faceid else 4)
    assert found["InstantID, SDXL"]["guidance_scale"] == 5.0 and found["PuLID, FLUX.1"]["guidance_scale"] == 4.0


def test_nothing_tells_whose_machine_it_is(small, models, tmp_path, monkeypatch):
    """Neither folders nor names of users and hosts, in the figures, the words of an error, and the picture's own text."""
    monkeypatch.setattr(opening, "kind_of", lambda path: (_ for _ in ()).throw(OSError(f"can't open {path}, {tmp_path}/x")))
    code, _, _ = small("--models", models, "--methods", "faceid-sd15", "--out", tmp_path / "secret out")
    found = report(tmp_path / "secret out")
    assert code == 1 and found["methods"][0]["words"] == f"OSError: can't open checkpoints{os.sep}small sd15.safetensors, x"
    picture = Image.open(tmp_path / "secret out" / "verify.png")
    text = "".join((tmp_path / "secret out" / name).read_text(encoding="utf-8") for name in FILES[:2]) + str(picture.info)
    for hint in ("secret", str(tmp_path), str(Path.home()), platform.node()):
        assert hint not in text, hint
    assert re.findall(r"(?<![\w:.)])[/\\]\w+", text.replace("\\\\", "/")) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("{home}/models/a b/x.bin is empty", "models/a b/x.bin is empty"),
        ("{home} is no folder", "… is no folder"),
        ("can't open '/opt/some/where/x.bin'", "can't open 'x.bin'"),
        (r"C:\Users\jane\x.bin and D:/models/y.bin", "x.bin and y.bin"),
        (
            "pip install timm; see https://example.org/a/b, and/or 1/2",
            "pip install timm; see https://example.org/a/b, and/or 1/2",
        ),
        ("CUDA out of memory", "CUDA out of memory"),
        ("one line\nand another\x1b[1m", r"one line and another\x1b[1m"),
    ],
)
def test_paths_are_taken_out_of_words(home, text, left):
    from facegen.standalone.cli.verify.machine import without_paths

    assert without_paths(text.format(home=home), Path("out")) == left


def test_what_lacks_is_listed_with_the_command_that_gets_it(smallest, models, tmp_path, monkeypatch):
    drawn, draw = [], trial.draw
    monkeypatch.setattr(trial, "draw", lambda *given: drawn[0] if drawn else drawn.append(draw(*given)) or drawn[0])
    folder = tmp_path / "some models"
    shutil.copytree(models, folder, ignore=shutil.ignore_patterns("pulid", "instantid", "small sdxl*"))
    code, printed, said = smallest("--models", folder)
    assert code == 0, said
    found = by_name(report())
    assert [name for name, made in found.items() if made["state"] == "ran"] == ["FaceID, SD1.5"]
    assert found["FaceID, SDXL"]["words"] == "lacks a checkpoint of SDXL"
    lacks = "ip-adapter.bin (or another file of its kind) in instantid"
    assert found["InstantID, SDXL"]["words"] == f"lacks a checkpoint of SDXL, {lacks}"
    assert "models download sdxl-base instantid --models" in printed and "pulid-flux-v0.9.1" in printed
    assert "InstantID, SDXL: lacks a checkpoint" in Path("out/verify.md").read_text(encoding="utf-8")
    assert smallest("--models", folder, "--methods", "faceid-sd15", "instantid")[0] == 1  # asked for by name


def test_without_the_files_of_any_method_nothing_is_written(smallest, tmp_path):
    (tmp_path / "bare").mkdir()
    code, printed, said = smallest("--models", tmp_path / "bare")
    assert code == 2 and "has the files of no method" in said and "models download" in printed
    assert not Path("out").exists()
    code, _, said = smallest("--models", tmp_path / "gone")
    assert code == 2 and "gone is no folder" in said


@pytest.mark.parametrize(
    ("damaged", "other"),
    [
        (
            {
                "FaceID, SDXL": ("ipadapter/ip-adapter-faceid-plusv2_sdxl.bin", "ip-adapter-faceid-plusv2_sdxl.bin"),
                "InstantID, SDXL": (
                    "controlnet/instantid-controlnet.safetensors",
                    "instantid-controlnet.safetensors: it is truncated",
                ),
            },
            "faceid-sd15",
        ),
        (
            {"FaceID, SD1.5": ("checkpoints/small sd15.safetensors", "small sd15.safetensors: it is truncated")},
            "faceid-sdxl",
        ),
    ],
    ids=["adapter and ControlNet", "checkpoint"],
)
def test_a_damaged_file_is_told_and_the_others_still_run(smallest, models, tmp_path, damaged, other):
    folder = tmp_path / "models"
    shutil.copytree(models, folder, ignore=shutil.ignore_patterns("pulid"))
    for file, _ in damaged.values():
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: len(whole) // 2])
    methods = [name for name, way in WAYS.items() if way.words in damaged]
    code, printed, _ = smallest("--models", folder, "--methods", *methods, other)
    found = by_name(report())
    assert code == 1 and found.keys() == {*damaged, WAYS[other].words} and found[WAYS[other].words]["state"] == "ran"
    for method, (_, says) in damaged.items():
        assert found[method]["state"] == "failed" and says in found[method]["words"]
        assert re.search(rf"^BROKEN +{method} ", printed, re.MULTILINE)
        assert f"**{method}**: failed" in Path("out/verify.md").read_text(encoding="utf-8")


def test_one_method_at_a_time_is_in_memory_and_one_that_lacks_some_is_told(smallest, models, monkeypatch):
    """Also what failed is let go of: nothing of it is left when the next is loaded."""
    engines, generate = [], Engine.generate

    def load(files, checks, device):
        assert [engine for engine in engines if engine() is not None] == []
        engine = Engine(files, checks, device)
        engines.append(weakref.ref(engine))
        return engine

    def fail(self, request, face_embeds, **more):
        if self.method == "instantid" and face_embeds is not None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return generate(self, request, face_embeds, **more)

    monkeypatch.setattr(trial, "load_engine", load)
    monkeypatch.setattr(Engine, "generate", fail)
    code, printed, _ = smallest("--models", models, "--methods", "faceid-sd15", "instantid", "faceid-sdxl")
    states = {name: made["state"] for name, made in by_name(report()).items()}
    assert code == 1 and states == {"FaceID, SD1.5": "ran", "InstantID, SDXL": "failed", "FaceID, SDXL": "ran"}
    told = "There was not enough memory for a picture of 64x64 pixels (CUDA out of memory. Tried to allocate 2 GiB)."
    assert report()["methods"][1]["words"] == told and told in printed
    assert len(engines) == 3


def test_stopped_it_leaves_whole_files_of_what_it_did(smallest, models, monkeypatch):
    """Neither a half-written file nor a stranger to what was drawn by then."""
    generate, seen = Engine.generate, []

    def stop(self, *arguments, **more):
        seen.append(self.method)
        if self.method == "instantid":
            raise KeyboardInterrupt
        return generate(self, *arguments, **more)

    monkeypatch.setattr(Engine, "generate", stop)
    code, _, said = smallest("--models", models, "--methods", "faceid-sd15", "instantid", "faceid-sdxl")
    assert code == 130 and "stopped" in said and seen[-1] == "instantid"
    states = {name: made["state"] for name, made in by_name(report()).items()}
    assert states == {"FaceID, SD1.5": "ran", "InstantID, SDXL": "not reached", "FaceID, SDXL": "not reached"}
    Image.open("out/verify.png").verify()


def test_stopped_before_the_first_is_done_it_leaves_nothing(smallest, models, monkeypatch):
    monkeypatch.setattr(trial, "draw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert smallest("--models", models, "--methods", "faceid-sd15")[0] == 130 and not list(Path("out").iterdir())


# --- choices ----------------------------------------------------------------------------------------------------------


def test_of_several_checkpoints_one_is_taken_and_may_be_named(smallest, models, tmp_path, monkeypatch):
    folder = tmp_path / "models"
    shutil.copytree(models, folder, ignore=shutil.ignore_patterns("pulid", "instantid"))
    for name in ("a.safetensors", "z.safetensors"):
        shutil.copy(folder / "checkpoints" / "small sd15.safetensors", folder / "checkpoints" / name)
    taken = []
    monkeypatch.setattr(trial, "draw", lambda *_: (_ for _ in ()).throw(RuntimeError("seen")))
    monkeypatch.setattr(trial.Checker, "check", lambda self, files: taken.append(files.checkpoint.name))
    _, _, said = smallest("--models", folder, "--methods", "faceid-sd15")
    assert taken == ["a.safetensors"] and "takes a.safetensors of 3 files that would do" in said
    smallest("--models", folder, "--methods", "faceid-sd15", "--checkpoint", "z.safetensors")
    assert taken[1:] == ["z.safetensors"]
    code, _, said = smallest("--models", folder, "--checkpoint", "none.safetensors")
    assert code == 2 and "There is no checkpoint 'none.safetensors'. There are: " in said


def test_a_model_pack_that_the_method_doesn_t_know_is_no_pack(smallest, models, tmp_path, monkeypatch):
    """Another pack's numbers would be a stranger's; of several the one that it knows is taken, whatever it is called."""
    folder, packs = tmp_path / "models", tmp_path / "models" / "insightface" / "models"
    shutil.copytree(models, folder, ignore=shutil.ignore_patterns("pulid", "instantid", "buffalo_l"))
    code, printed, _ = smallest("--models", folder, "--methods", "faceid-sd15")
    assert code == 2 and "lacks the model pack buffalo_l" in printed and "models download buffalo_l" in printed
    shutil.copytree(models / "insightface" / "models" / "buffalo_l", packs / "my own")
    used = []
    monkeypatch.setattr(trial, "draw", lambda *_: (_ for _ in ()).throw(RuntimeError("seen")))
    monkeypatch.setattr(trial.Checker, "check", lambda self, files: used.append(files.face_pack.name))
    smallest("--models", folder, "--methods", "faceid-sd15")
    assert used == ["my own"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--size", "30"), "width field must be between 64 and 512"),
        (("--steps", "3"), "num_inference_steps field must be between 21 and 41"),
        (("--device", "cuda:9"), "There is no device 'cuda:9' here. Give another one with --device"),
    ],
)
def test_what_cant_be_asked_for_is_told_before_anything_is_loaded(verify, monkeypatch, arguments, says):
    monkeypatch.setattr(trial, "load_engine", None)
    code, _, said = verify("--models", "tiny", *arguments)
    assert code == 2 and says in said and not Path("out").exists()


def test_without_a_folder_it_is_comfyui_s_or_the_tiny_model(monkeypatch, tmp_path):
    options = type("Options", (), {"models": None, "methods": None})
    monkeypatch.setattr(command, "comfyui_models", lambda: tmp_path)
    assert command.models_of(options) == (False, tmp_path)
    monkeypatch.setattr(command, "comfyui_models", lambda: None)
    assert command.models_of(options)[0] is True

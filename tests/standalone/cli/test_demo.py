"""What `generate` asks of the tiny model where nothing else is given, what it writes about each picture, and the demo."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from facegen.contract import FIELDS, STYLES, FaceGenRequest
from facegen.errors import FaceGenError
from facegen.models.tiny_files import TINY
from facegen.standalone import demo, portraits
from facegen.standalone.asked import Result
from facegen.standalone.cli import comfyui
from facegen.standalone.cli import generate as cli
from facegen.standalone.cli.main import main
from facegen.standalone.photos import read_photo


@pytest.fixture
def generate(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own; gives its exit code and all that it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(["generate", *map(str, arguments)])
        written = capsys.readouterr()
        return code, written.out + written.err

    return run


# --- what is asked where nothing else is given -----------------------------------------------------------------------


class Noting:
    """An engine that keeps the request and generates nothing."""

    def embed(self, photo, name):
        return None, photo

    def generate(self, request, face_embeds, progress=None):
        self.request = request
        raise FaceGenError("seen")


@pytest.fixture
def asked(generate, monkeypatch):
    """asked("--width", "64", ...) -> the request that the engine gets."""

    def run(*arguments):
        noting = Noting()
        monkeypatch.setattr(cli, "load_engine", lambda *_: noting)
        code, text = generate("--face", cli.demo_photo(), "--prompt", "a pilot", *arguments)
        assert code == 2 and "facegen: seen" in text, text
        return noting.request

    return run


def settings(request):
    return {name: getattr(request, name) for name in cli.TINY_DEFAULTS}


@pytest.mark.parametrize("models", [["--models", "tiny"], []], ids=["named", "for want of others"])
def test_the_tiny_model_is_asked_as_it_was_trained(asked, monkeypatch, tmp_path, models):
    monkeypatch.setattr(comfyui, "PACK", tmp_path / "pack")
    assert settings(asked(*models)) == {"width": 256, "height": 256, "num_inference_steps": 21, "guidance_scale": 2.0}


@pytest.mark.parametrize(
    ("name", "value"), [("width", 512), ("height", 256), ("num_inference_steps", 31), ("guidance_scale", 7.5)]
)
def test_what_is_asked_of_the_tiny_model_is_kept(asked, name, value):
    """Even where it is what the contract would have given unasked."""
    request = asked("--models", "tiny", f"--{name.replace('_', '-')}", str(value))
    assert settings(request) == cli.TINY_DEFAULTS | {name: value}


@pytest.mark.parametrize(("models", "own", "threads"), [("tiny", None, 1), ("tiny", "2", 3), (TINY, None, 3)])
def test_the_tiny_model_gets_one_thread_unless_the_user_says_how_many(asked, monkeypatch, models, own, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        asked("--models", models)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_other_models_get_the_contract_s_defaults(asked):
    assert settings(asked("--models", TINY)) == {name: FIELDS[name].default for name in cli.TINY_DEFAULTS}
    assert settings(asked("--models", TINY, "--height", "64"))["height"] == 64


# --- the pictures' own words ----------------------------------------------------------------------------------------


class Copying:
    """Finds faces as ever; its pictures are those that it is given, in turn, and it flags as it is told."""

    method = "faceid"

    def __init__(self, engine):
        self.embed, self.face_analysis = engine.embed, engine.face_analysis
        self.pictures, self.flagged, self.requests = [], False, []

    def generate(self, request, face_embeds, progress=None):
        self.requests.append(request)
        number = len(self.requests) - 1
        picture = self.pictures[number % len(self.pictures)]
        return Result(picture, request, [self.flagged] * len(picture), "a FaceID")


@pytest.fixture
def engine(tiny_engine):
    return Copying(tiny_engine)


REQUEST = FaceGenRequest(prompt="a pilot", face_image="folder/photo.jpg", style="anime", seed=7)


def parameters(path):
    return json.loads(Image.open(path).text["parameters"])


def test_each_picture_says_how_alike_it_is(engine, astronaut, tmp_path):
    """And by which recogniser; the tiny one says nothing of a photo."""
    drawn = demo.drawn_face()
    face_embeds, _ = engine.embed(drawn)
    engine.pictures = [torch.cat([drawn, torch.full_like(drawn, 0.5)])]
    made = portraits.generate_portraits(engine, replace(REQUEST, samples=2), face_embeds, tmp_path)
    assert [path.name for path in made.files] == ["anime_7_0.png", "anime_7_1.png"]
    same, nobody = map(parameters, made.files)
    assert same["likeness_percent"] == 99 and same["sample"] == 0  # InsightFace's scale ends there
    assert nobody["likeness_percent"] is None and nobody["sample"] == 1
    assert [label for label, _ in made.cells] == ["anime: 99 % by tiny recogniser", "anime: no face found"]
    assert same["likeness_recogniser"] == "w_tiny"
    engine.pictures = [drawn]
    made = portraits.generate_portraits(engine, REQUEST, engine.embed(astronaut)[0], tmp_path)
    assert [label for label, _ in made.cells] == ["anime: not measured"]
    assert parameters(made.files[0])["likeness_percent"] is None
    assert same["face_image"] == "photo.jpg" and not {"base64", "webhook", "track_id"} & same.keys()


def test_a_redacted_picture_has_no_likeness(engine, astronaut, tmp_path):
    """Even where a redaction leaves a face to be seen."""
    face_embeds, _ = engine.embed(astronaut)
    engine.pictures, engine.flagged = [astronaut], True
    made = portraits.generate_portraits(engine, REQUEST, face_embeds, tmp_path)
    assert parameters(made.files[0])["flagged"] is True and parameters(made.files[0])["likeness_percent"] is None
    assert [label for label, _ in made.cells] == ["anime: redacted"]


# --- the demo -------------------------------------------------------------------------------------------------------


@pytest.fixture
def sheets(monkeypatch):
    """The labels of each contact sheet, row by row."""
    seen = []
    make = portraits.contact_sheet

    def note(cells, columns):
        labels = [label for label, _ in cells]
        seen.append([labels[i : i + columns] for i in range(0, len(labels), columns)])
        return make(cells, columns=columns)

    monkeypatch.setattr(portraits, "contact_sheet", note)
    return seen


@pytest.fixture
def show(generate, engine, monkeypatch, tmp_path):
    """Runs the demo on an engine whose pictures are the drawing; gives the names that it says it wrote, and the requests."""

    def run(*arguments):
        engine.pictures = [demo.drawn_face()]
        monkeypatch.setattr(cli, "load_engine", lambda *_: engine)
        code, text = generate("--demo", "--models", "tiny", *arguments)
        assert code == 0, text
        files = [Path(line.removeprefix("wrote ")) for line in text.splitlines() if line.startswith("wrote ")]
        assert sorted(files) == sorted(Path("out").iterdir())
        assert f"generating {len(files) - 1} pictures of " in text and f", into {Path('out').resolve()}" in text
        return [file.name for file in files], engine.requests

    return run


def names(face, seed=cli.DEMO["seed"]):
    return [
        *(f"{face}_{style}_{seed}_0.png" for style in STYLES),
        *(f"{face}_realistic_s_scale_{value}_{seed}_0.png" for value in ("0", "0.5", "1.5", "2")),
    ]


def test_the_demo_shows_two_faces_in_all_styles_and_s_scale_values(show, sheets):
    files, requests = show()
    assert files == [*names("photo"), *names("drawing"), "contact_sheet.png"]
    assert [request.style for request in requests] == [*STYLES, *["realistic"] * 4] * 2
    assert [request.s_scale for request in requests] == [*[1.0] * 5, 0, 0.5, 1.5, 2] * 2
    assert {(request.seed, request.samples, request.width, request.prompt) for request in requests} == {
        (cli.DEMO["seed"], 1, 256, cli.DEMO["prompt"])
    }
    ((styles, scales, *drawing_rows),) = sheets
    values = ("0", "0.5", "1", "1.5", "2")
    faces = (([styles, scales], "photo", "not measured"), (drawing_rows, "drawing", "99 % by tiny recogniser"))
    for rows, name, alike in faces:
        assert rows[0] == [name, *(f"{style}: {alike}" for style in STYLES)]
        assert rows[1] == ["face", *(f"s_scale {value}: {alike}" for value in values)]
    sheet = Image.open("out/contact_sheet.png")
    assert json.loads(sheet.text["parameters"])["pictures"] == files[:-1] and sheet.width > 6 * 256


def test_the_demo_of_one_s_own_face(show, sheets):
    """One face, and what else is asked is kept."""
    files, requests = show("--face", cli.demo_photo(), "--seed", "3", "--samples", "2", "--width", "64")
    assert files == [*names("photo", seed=3), "contact_sheet.png"]
    assert {(request.samples, request.width) for request in requests} == {(1, 64)} and len(sheets[0]) == 2


def test_each_file_is_told_of_when_it_is_there(engine, astronaut, tmp_path):
    """And not at the end, when the last picture is done."""
    told = []
    engine.pictures = [astronaut]
    faces = {"one": astronaut, "other": astronaut}
    files = demo.generate_demo(
        engine, REQUEST, faces, tmp_path, lambda file: told.append((file, file.is_file(), len(engine.requests)))
    )
    assert told == [(file, True, min(number, 2 * demo.pictures(engine))) for number, file in enumerate(files, 1)]
    assert len(files) == 2 * demo.pictures(engine) + 1


def test_the_drawn_face_is_found_and_is_nobody_s_photo(engine):
    picture = demo.drawn_face()
    assert picture.shape == (1, 256, 256, 3) and picture.dtype == torch.float32 and 0.5 < picture.max() <= 1
    assert torch.equal(demo.drawn_face(), picture)
    drawn, _ = engine.embed(picture)
    photo, _ = engine.embed(read_photo(cli.demo_photo()))
    assert len(drawn) == 1 and float(drawn.normed_identity @ photo.normed_identity.T) < 0.4

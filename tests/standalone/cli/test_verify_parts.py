"""The parts of `verify`: what a file is held against, how time and memory are taken, what the report and the sheet say."""

import hashlib
import json
import shutil
import sys
from collections import Counter

import pytest
import torch
from PIL import ImageDraw

from facegen.contract import STYLES, FaceGenRequest
from facegen.models.face.likeness import Likeness
from facegen.models.face.quality import MARKS, Check, PortraitQuality
from facegen.models.published import PUBLISHED, Download, PublishedFile
from facegen.models.tiny_files import DETECTOR, TINY
from facegen.standalone import memory
from facegen.standalone.cli.verify import checking, finding, machine, sheet
from facegen.standalone.cli.verify.checking import Checker
from facegen.standalone.cli.verify.drawing import Drawing, Picture, StepClock
from facegen.standalone.cli.verify.report import FAILED, LACKS, RAN, Outcome, Report
from facegen.standalone.cli.verify.ways import WAYS
from facegen.standalone.model_files import ModelFiles, find_model_files

REQUEST = FaceGenRequest(prompt="a person", face_image="photo", seed=42)

# --- files ------------------------------------------------------------------------------------------------------------

BYTES = b"what was published"
RIGHT = hashlib.sha256(BYTES).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "published", "check"),
    [
        ("a.pth", BYTES, Download("https://x/a.pth", len(BYTES), RIGHT), checking.PUBLISHED_BYTES),
        ("a.pth", BYTES, Download("https://x/a.pth", None, RIGHT), checking.PUBLISHED_BYTES),
        ("renamed.pth", BYTES, Download("https://x/a.pth", len(BYTES), RIGHT), checking.PUBLISHED_BYTES),
        ("a.pth", BYTES[::-1], Download("https://x/a.pth", len(BYTES), RIGHT), checking.OTHER_BYTES),
        ("a.pth", BYTES + b"!", Download("https://x/a.pth", len(BYTES), RIGHT), checking.OTHER_BYTES),
        ("a.pth", BYTES[::-1], Download("https://x/a.pth", len(BYTES)), checking.PUBLISHED_SIZE),
        ("a.pth", BYTES + b"!", Download("https://x/a.pth", len(BYTES)), checking.OTHER_BYTES),
        ("a.pth", BYTES, Download("https://x/a.pth"), checking.UNKNOWN),
        ("other.pth", BYTES[::-1], Download("https://x/a.pth", len(BYTES), RIGHT), checking.UNKNOWN),
    ],
)
def test_a_file_is_held_against_what_is_published_by_name_and_by_size(tmp_path, monkeypatch, name, content, published, check):
    monkeypatch.setattr(checking, "PUBLISHED", {"a": PublishedFile("a", "facexlib", "MIT", published, "")})
    files = find_model_files(TINY)
    (tmp_path / name).write_bytes(content)
    checker = Checker()
    checker.check(ModelFiles(files.checkpoint, files.face_pack, face_parsing=tmp_path / name))
    (checked,) = [file for file in checker.checked.values() if file.kind == "face_parsing"]
    assert (checked.name, checked.size, checked.check) == (name, len(content), check)
    assert checked.what == "face-parsing network"


def test_a_file_of_several_methods_is_hashed_once(monkeypatch):
    seen, sha256 = Counter(), checking.sha256
    monkeypatch.setattr(checking, "sha256", lambda path: seen.update([path]) or sha256(path))
    checker = Checker()
    for _ in range(2):
        checker.check(find_model_files(TINY))
    assert set(seen.values()) == {1} and len(checker.checked) == 5


def test_a_tiny_model_that_was_changed_is_told(tmp_path, monkeypatch):
    tiny = tmp_path / "tiny"
    shutil.copytree(TINY, tiny)
    (tiny / DETECTOR).write_bytes((tiny / DETECTOR).read_bytes() + b"\0")
    monkeypatch.setattr(checking, "TINY", tiny)
    checker = Checker()
    checker.check(find_model_files(tiny))
    checks = {file.name: file.check for file in checker.checked.values()}
    assert checks.pop("det_tiny.onnx") == checking.CHANGED and set(checks.values()) == {checking.SHIPPED}


def test_of_several_files_the_published_one_is_taken_or_its_converted_twin(tmp_path):
    way = WAYS["faceid-sd15"]
    (tmp_path / "ipadapter").mkdir()
    published = PUBLISHED[way.starter["faceid"]].file
    for name in ("a.safetensors", published.replace(".bin", ".safetensors")):
        (tmp_path / "ipadapter" / name).touch()
    assert finding._usual(way, tmp_path, {})["faceid"] == published.replace(".bin", ".safetensors")
    (tmp_path / "ipadapter" / published).touch()
    assert finding._usual(way, tmp_path, {})["faceid"] == published


# --- time and memory --------------------------------------------------------------------------------------------------


def test_the_first_step_doesn_t_count_and_each_waits_for_the_device(monkeypatch):
    now = iter([0.0, 5.0, 6.0, 6.5, 8.5])
    waited = []
    monkeypatch.setattr("facegen.standalone.cli.verify.drawing.time.perf_counter", lambda: next(now))
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    clock = StepClock(torch.device("cuda:1"), type("Meter", (), {"now": staticmethod(lambda: None)}))
    for step in range(5):
        clock(step, 4)
    assert clock.steps == [1.0, 0.5, 2.0] and waited == [torch.device("cuda:1")] * 5


def test_of_a_gpu_it_is_what_pytorch_has_there(monkeypatch):
    reset = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 5)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 9)
    meter = memory.MemoryMeter(torch.device("cuda"))
    assert reset == [torch.device("cuda")] and (meter.is_device, meter.now(), meter.highest()) == (True, 5, 9)


def test_without_one_it_is_the_process_at_its_largest(monkeypatch):
    meter = memory.MemoryMeter(torch.device("cpu"))
    before = meter.now()
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert meter.now() - before > 150_000_000
    del held
    assert meter.highest() - before > 150_000_000
    monkeypatch.setitem(sys.modules, "psutil", None)
    meter = memory.MemoryMeter(torch.device("cpu"))
    assert meter.now() is None and meter.highest() is None


def test_a_gpu_and_its_driver_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "devices", lambda: [{"name": "none"}, {"name": "A Card", "vram_total": 24 << 30}])
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12090, raising=False)
    monkeypatch.setattr(machine, "NVIDIA", tmp_path / "version")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  575.51.03  Tue\n")
    facts = machine.machine(torch.device("cuda:1"))
    assert {name: facts[name] for name in ("device", "its memory", "CUDA", "driver")} == {
        "device": "A Card",
        "its memory": "24 GiB",
        "CUDA": "12.8",
        "driver": "575.51.03 for CUDA 12.9",
    }


# --- report and sheet -------------------------------------------------------------------------------------------------


def picture(colour, style=STYLES[0], s_scale=1.0, face=True, cosine=0.5, why="", failed=(), steps=(0.2, 0.4), flagged=False):
    """A plain one in an RGB of 8 bits."""
    asked = FaceGenRequest(prompt="a person", face_image="photo", seed=42, style=style, s_scale=s_scale)
    image = (torch.tensor(colour) / 255).expand(64, 64, 3)
    names = ("size", "sharpness", "turn")
    quality = PortraitQuality(tuple(Check(n, 1.0, MARKS[n].needed, 0.2 if n in failed else 1.0, n) for n in names))
    likeness = Likeness(0, None if why else cosine, "w600k_r50", why)
    return Picture(asked, face, image, flagged, likeness, None if why else quality, list(steps))


def drawing(**changes):
    usual = {
        "styles": [picture((250, 0, 10 + i), style, failed=("turn",) if i == 1 else ()) for i, style in enumerate(STYLES)],
        "plain": [picture((0, 250, 10 + i), style, face=False, cosine=0.0, steps=(0.1, 0.4)) for i, style in enumerate(STYLES)],
        "s_scales": [picture((0, 10 + i, 250), s_scale=value) for i, value in enumerate((0.0, 1.0, 2.0))],
        "face": torch.zeros(224, 224, 3),
        "adapter": "faceid-plusv2_sd15",
        "recogniser": "w600k_r50",
        "precision": "float16",
        "loaded": 3.0,
        "is_device": True,
        "held": 3 << 30,
        "highest": 5 << 30,
    }
    return Drawing(**usual | changes)


@pytest.fixture
def report():
    outcomes = [
        Outcome(WAYS["faceid-sd15"], RAN, files={"checkpoint": "a|b.safetensors"}, drawing=drawing()),
        Outcome(WAYS["pulid-sdxl"], RAN, drawing=drawing(s_scales=[], is_device=False, highest=None)),
        Outcome(WAYS["instantid"], FAILED, "There was not enough memory."),
        Outcome(WAYS["pulid-flux"], LACKS, "lacks timm"),
    ]
    return Report({"torch": "2.11"}, "a photo", REQUEST, outcomes)


def test_the_tables_say_what_was_measured(report):
    text = report.markdown()
    first, second = (
        line for line in text.splitlines() if line.startswith(("| FaceID, SD1.5 |", "| PuLID, SDXL |")) and "s |" in line
    )
    assert first == (
        "| FaceID, SD1.5 | 77 % (77 to 77) | 7 % (7 to 7) | 0.3 | 100.0 % (100.0 to 100.0) | 5.0 GiB on the device "
        "| 4 of 5 pass; missed: turn 1 | 3.0 s | a/b.safetensors; float16 |"
    )
    assert "not measured" in second
    assert "| likeness | realistic | anime | 3d | chibi | comic | s_scale 0 | s_scale 1 | s_scale 2 |" in text
    assert "- **InstantID, SDXL**: failed. There was not enough memory." in text and "- PuLID, FLUX.1: lacks timm" in text
    assert json.loads(json.dumps(report.as_dict()))["methods"][0]["overhead"]["median"] == 1.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"why": "no face"}, "not measured | not measured | 0.3"),
        ({"flagged": True}, "not measured | not measured | 0.3"),
        ({}, "77 % | 77 % | 0.3"),
    ],
)
def test_what_has_no_likeness_is_no_zero(changes, says):
    made = drawing(styles=[picture((1, 1, 1), **changes)], plain=[picture((2, 2, 2), face=False, **changes)], s_scales=[])
    text = Report({}, "a photo", REQUEST, [Outcome(WAYS["instantid"], RAN, drawing=made)]).markdown()
    assert f"| InstantID, SDXL | {says} |" in text
    assert ("no face found" in text) == ("why" in changes) and ("redacted" in text) == ("flagged" in changes)


def test_each_picture_is_on_the_sheet_in_its_row_and_column_over_its_words(report, monkeypatch):
    words, text = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda self, at, *a, **k: words.append((*at, a[0])) or text(self, at, *a, **k)
    )
    made = (sheet.contact_sheet(report, torch.ones(1, 64, 64, 3)) * 255).round().int()

    def corner(colour):
        """Of where it is, in the first of the ways: x and y."""
        rows, columns = (made == torch.tensor(colour)).all(-1).nonzero(as_tuple=True)
        here = rows < rows.min() + sheet.CELL
        assert here.sum() == sheet.CELL**2, colour
        return int(columns[here].min()), int(rows.min())

    with_face, plain = (
        [corner(c) for c in ((250, 0, 10 + i) if face else (0, 250, 10 + i) for i in range(5))] for face in (1, 0)
    )
    scales = [corner((0, 10 + i, 250)) for i in range(3)]
    columns = [x for x, _ in with_face]
    assert columns == sorted(set(columns)) == [x for x, _ in plain] and [x for x, _ in scales] == columns[:3]
    heights = [{y for _, y in row} for row in (with_face, plain, scales)]
    assert [len(ys) for ys in heights] == [1, 1, 1] and max(heights[0]) < max(heights[1]) < max(heights[2])
    under = {x: told for x, y, told in words if y == sheet.GAP + sheet.CELL + 4 and "with" not in told}
    assert list(under) == columns
    told = [told for *_, told in words]
    for expected in ("anime: 77 %", "anime: 7 %", "s_scale 2: 77 %", "check 0.58: turn", "with the face", "Not tried"):
        assert expected in told, expected
    assert "InstantID, SDXL: failed" in told and "PuLID, FLUX.1: lacks timm" in told
    assert all(ord(sign) < 256 or sign in "“”…" for line in told for sign in line)  # the font has no others


def test_words_that_are_too_long_stay_on_the_sheet():
    font = sheet.ImageFont.load_default(size=sheet.TEXT)
    parts = sheet._broken("a file called " + "x" * 300 + " and more words", font, 400)
    assert len(parts) == 3 and all(font.getlength(part) <= 400 for part in parts) and parts[1].endswith("x…")

"""What a photo is called where it is told: which of several it is, and nothing of the machine that it is on."""

import os
from pathlib import Path

import pytest

from facegen.standalone.batch.sources import combination, shown

DEEP = "a list or an object"
HERE = Path(os.path.abspath(os.sep), "home", "anna", "rows")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("1.png", "1.png"),
        ("p1/1.png", "p1/1.png"),
        ("./p1//1.png", "p1/1.png"),
        (os.path.join("p1", "deep", "1.png"), "p1/deep/1.png"),
        ("../photos/1.png", "../photos/1.png"),
        ("../rows/p1/1.png", "p1/1.png"),
        (str(HERE / "p1" / "1.png"), "p1/1.png"),
        (str(HERE.parent / "secret" / "1.png"), "1.png"),
        (str(HERE / ".." / "secret" / "1.png"), "1.png"),
        (str(HERE) + "er/1.png", "1.png"),
        ("../../../etc/secret/1.png", "1.png"),
        ("../../../../../../etc/secret/1.png", "1.png"),
        ("../../../home/anna/rows/1.png", "1.png"),
        ("https://example.org/p1/1.png?key=secret#secret", "https://example.org/p1/1.png"),
        ("https://anna:secret@example.org/p1/1.png", "https://example.org/p1/1.png"),
        ("https://example.org", "https://example.org"),
        ("data:image/png;base64,secret", "data:"),
    ],
)
def test_a_photo(source, told):
    assert shown(source, HERE) == told


def test_a_folder_that_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown("p1/1.png", Path()) == "p1/1.png" and shown(str(tmp_path / "p1" / "1.png"), Path()) == "p1/1.png"


def test_a_requests_file_at_the_root():
    root = Path(os.path.abspath(os.sep))
    assert shown("p1/1.png", root) == "p1/1.png" and shown(str(root / "home" / "anna" / "1.png"), root) == "1.png"


def test_a_combination():
    values = {"face_image": "p1/1.png", "prompt": "x" * 20_000, "style": None, "width": 64}
    told = combination(values, ["face_image", "prompt", "style"], HERE)
    assert told == {"face_image": "p1/1.png", "prompt": "x" * 100 + "… (20000 characters)", "style": None}
    assert combination(values, [], HERE) == {}
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert combination({"prompt": deep, "style": 5}, ["prompt", "style"], HERE) == {"prompt": DEEP, "style": "5"}

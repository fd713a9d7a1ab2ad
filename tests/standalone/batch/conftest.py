"""A folder with photos, and an engine that takes no time."""

import pytest
from PIL import Image

from batch_runs import QuickEngine, quick_likeness


@pytest.fixture
def engine(monkeypatch):
    quick_likeness(monkeypatch)
    return QuickEngine()


@pytest.fixture
def photos(tmp_path):
    """anna.png, the same as twin.png; in the folder people two others; grey.png has no face; torn.png is cut."""
    (tmp_path / "people").mkdir()
    for number, name in enumerate(("anna.png", "people/b.png", "people/a.png")):
        image = Image.linear_gradient("L").convert("RGB")
        image.putpixel((0, 0), (number * 100, 0, 0))
        image.crop((0, 0, 256, 200 + number)).save(tmp_path / name)
    (tmp_path / "twin.png").write_bytes((tmp_path / "anna.png").read_bytes())
    (tmp_path / "people" / "notes.txt").write_text("not a picture")
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "grey.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "anna.png").read_bytes()[:300])
    return tmp_path

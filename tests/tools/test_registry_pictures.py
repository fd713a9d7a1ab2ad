"""The registry's icon and banner are what tools/registry draws, in the sizes that the registry shows."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pack import ROOT

FOLDER = ROOT / "docs" / "registry"
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    subprocess.run([sys.executable, ROOT / "tools" / "registry", folder], check=True, timeout=120)
    return folder


@pytest.mark.parametrize("name", ["icon.png", "banner.png"])
def test_it_is_what_is_drawn(drawn, name):
    with Image.open(FOLDER / name) as kept, Image.open(drawn / name) as new:
        kept, new = (np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in (kept, new))
    assert kept.shape == new.shape and np.abs(kept - new).mean() < 0.5  # of 255: another skia may round otherwise
    assert kept.std() > 40


def test_the_registry_is_told_and_shows_them_whole():
    address = {key: re.search(rf'^{key} = "(.+)"$', PROJECT, re.MULTILINE)[1] for key in ("Icon", "Banner", "Repository")}
    own = address["Repository"].replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/docs/registry/"
    assert (address["Icon"], address["Banner"]) == (f"{own}icon.png", f"{own}banner.png")
    with Image.open(FOLDER / "icon.png") as icon, Image.open(FOLDER / "banner.png") as banner:
        assert icon.size == (400, 400) and banner.width * 9 == banner.height * 21
    assert all((FOLDER / name).stat().st_size < 500_000 for name in ("icon.png", "banner.png"))

"""`serve` with FLUX.1: a flux_headshot is made with it, and said to be missing in words."""

import base64
import io
import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image
from skimage import data

from facegen.api.local.config import ConfigFile
from facegen.api.local.flavours import FLAVOURS, FLAVOURS_WITH_FLUX
from facegen.standalone.cli.serve import built_in
from facegen.standalone.server.engines import Engines
from flux_folder import LAYERS, WIDTH, save_flux_models
from local_api_server import BODY
from memory_backend import MemoryBackend
from pulid_files import flux_state, save
from serve_process import ServeProcess
from serve_server import ServeServer

FLUX = FLAVOURS_WITH_FLUX["flux"]
PATH = "v6/image_editing/flux_headshot"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_flux_models(tmp_path_factory.mktemp("models"))


def test_there_is_a_flavour_for_it_where_there_is_flux(models, tmp_path):
    assert built_in("tiny") == FLAVOURS and built_in(str(tmp_path)) == FLAVOURS
    assert built_in(str(models)) == FLAVOURS_WITH_FLUX
    (tmp_path / "checkpoints" / "broken").mkdir(parents=True)
    (tmp_path / "checkpoints" / "broken" / "model_index.json").write_text("<html>")
    assert built_in(str(tmp_path)) == FLAVOURS


def test_its_files_are_those_of_pulid_for_flux(models, tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    save(flux_state(LAYERS, WIDTH), folder / "pulid" / "pulid_flux_v0.9.0.safetensors")  # the version before
    files = Engines(folder).files_of(FLUX)
    assert files.missing == [] and dict(files.used) == {
        "checkpoint": "small flux",
        "face_pack": "antelopev2",
        "pulid": "pulid_flux_v0.9.1.safetensors",
        "vision_tower": "EVA02_CLIP_L_336_psz14_s6B.pt",
        "face_parsing": "parsing_bisenet.pth",
    }
    shutil.rmtree(folder / "pulid")
    (lacks,) = Engines(folder).files_of(FLUX).missing
    assert "lacks a PuLID file (pulid/pulid_v1.1.safetensors; for FLUX.1 pulid/pulid_flux_v0.9.1.safetensors)" in lacks
    assert "flux needs real model files, and serve was started without any" in Engines(None).files_of(FLUX).missing[0]


class WithFlux(ServeServer):
    flavours = FLAVOURS_WITH_FLUX


@pytest.mark.parametrize("lacks", [[], ["There is no PuLID."]], ids=["all there", "a file is missing"])
def test_a_flux_headshot_is_made_by_it_and_nothing_else(tmp_path, lacks):
    backend = MemoryBackend()
    backend.lacks = lacks
    with WithFlux(tmp_path, backend, enabled=True) as server:
        answer = server.submit({**BODY, "width": 1024, "height": 1024}, PATH)
        offered = server.get("/page/options.json")[1]["endpoints"]
        assert server.submit(BODY)["meta"]["flavour"] == ("tiny" if lacks else "sd15")
    assert "flux_headshot" in offered
    if lacks:
        assert answer["status"] == "error" and not [work for work in backend.works.values() if work.flavour == FLUX]
        assert answer["message"] == "flux_headshot can't be made yet: flux lacks files. There is no PuLID."
    else:
        assert answer["status"] == "success" and answer["meta"]["flavour"] == "flux"


def test_settings_may_change_it(tmp_path):
    file = tmp_path / "local_api.json"
    file.write_text(json.dumps({"flavours": {"flux": {"guidance_factor": 0.7}}}))
    read = ConfigFile(file, flavours=FLAVOURS_WITH_FLUX).read().flavours
    assert read == {**FLAVOURS_WITH_FLUX, "flux": replace(FLUX, guidance_factor=0.7)}


@pytest.mark.timm
def test_served_from_files_to_a_picture(models, tmp_path):
    photo = io.BytesIO()
    Image.fromarray(data.astronaut()).save(photo, "PNG")
    face = f"data:image/png;base64,{base64.b64encode(photo.getvalue()).decode()}"
    with ServeProcess(tmp_path, "--models", str(models)) as server:
        assert server.wait_until_ready() == 200
        asked = {"prompt": "a pilot", "face_image": face, "width": 72, "height": 64, "num_inference_steps": 2, "base64": True}
        answer = server.post(f"/api/{PATH}", asked)
    assert answer["status"] == "success", answer
    assert answer["meta"]["flavour"] == "flux" and answer["meta"]["files"]["checkpoint"] == "small flux"
    (picture,) = answer["output"]
    assert Image.open(io.BytesIO(base64.b64decode(picture.rpartition(",")[2]))).size == (72, 64)

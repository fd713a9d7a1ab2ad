"""`serve` with SDXL: which files a folder of several bases and methods gives, and a head_shot made with them."""

import asyncio
import io
import shutil
import uuid

import numpy as np
import pytest
from PIL import Image

from facegen.api.local.backend import Phase, Work
from facegen.api.local.flavours import FLAVOURS
from facegen.contract import ENDPOINTS
from facegen.standalone.checkpoints import opening
from facegen.standalone.engine import Engine
from facegen.standalone.server.backend import EngineBackend
from facegen.standalone.server.engines import Engines
from small_checkpoints import save_folder, save_sdxl_models, save_single

HEAD_SHOT = ENDPOINTS["/v6/image_editing/head_shot"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """SDXL with both methods, beside an SD1.5 checkpoint."""
    folder = save_sdxl_models(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("scratch"))
    checkpoint = save_folder("SD1.5", tmp_path_factory.mktemp("checkpoint") / "folder")
    save_single(checkpoint, folder / "checkpoints" / "another.safetensors")
    return folder


@pytest.fixture
def photo(tmp_path):
    from skimage import data

    Image.fromarray(data.astronaut()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Three, however many are asked for."""
    scheduler = opening.DPMSolverMultistepScheduler
    set_timesteps = scheduler.set_timesteps
    monkeypatch.setattr(scheduler, "set_timesteps", lambda self, steps, **more: set_timesteps(self, min(3, steps), **more))


def made(models, photo, **changes):
    """What an sdxl flavour's backend makes of a head_shot: (files, state, pictures)."""
    values = {"width": 72, "height": 64, "num_inference_steps": 21, "seed": 7, "safety_checker": False, **changes}
    request = HEAD_SHOT.request(prompt="a pilot", face_image=str(photo), **values)

    async def test():
        backend = EngineBackend(Engines(models, Engine))
        work = Work(str(uuid.uuid4()), request, FLAVOURS["sdxl"])
        try:
            files = await backend.start(work)
            while not (state := (await backend.state([work.id]))[work.id]).has_ended:
                await asyncio.sleep(0.02)
            return files, state, await backend.pictures(work.id)
        finally:
            await backend.close()

    return asyncio.run(test())


def test_the_checkpoint_of_each_base_is_found_among_several(models):
    engines = Engines(models)
    sdxl = engines.files_of(FLAVOURS["sdxl"])
    assert sdxl.missing == [] and sdxl.used["checkpoint"] == "small sdxl.safetensors"
    assert sdxl.used["faceid"] == "ip-adapter-faceid-plusv2_sdxl.bin"
    (lacks,) = engines.files_of(FLAVOURS["sd15"]).missing
    assert lacks.startswith("No FaceID adapter fits the checkpoint another.safetensors, which is SD1.5")


def test_a_checkpoint_that_was_cut_short_is_no_hindrance_to_the_others(models, tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    (folder / "checkpoints" / "cut short.safetensors").write_bytes(b"\xff" * 100)
    assert Engines(folder).files_of(FLAVOURS["sdxl"]).used["checkpoint"] == "small sdxl.safetensors"


def test_a_head_shot_is_made_with_sdxl(models, photo):
    files, state, (picture,) = made(models, photo)
    assert state.phase is Phase.DONE, state.message
    assert files["checkpoint"] == "small sdxl.safetensors" and files["faceid"].endswith("sdxl.bin")
    image = Image.open(io.BytesIO(picture))
    assert image.size == (72, 64) and np.asarray(image, dtype=np.float32).std() > 3


def test_and_with_instantid_where_there_is_no_faceid(models, photo, tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(models, folder, ignore=shutil.ignore_patterns("ipadapter"))
    files, state, pictures = made(folder, photo, samples=2)
    assert state.phase is Phase.DONE, state.message
    assert "faceid" not in files and files["instantid"] == "ip-adapter.bin" and len(pictures) == 2


def test_several_of_one_base_need_a_choice(models, tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    shutil.copy(folder / "checkpoints" / "small sdxl.safetensors", folder / "checkpoints" / "third.safetensors")
    (lacks,) = Engines(folder).files_of(FLAVOURS["sdxl"]).missing
    several = "small sdxl.safetensors, third.safetensors"
    assert lacks == f"There are several SDXL checkpoints: {several}. Set checkpoint of the flavour."

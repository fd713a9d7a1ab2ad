"""Requests sampled in one batch: each gets the pictures that it gets alone, with its own face, words, seed and measure."""

import dataclasses

import pytest
import torch
from skimage import data

from facegen.contract import FaceGenRequest
from facegen.models.checkpoint_kind import SDXL
from facegen.standalone.engine import Asked, Engine
from facegen.standalone.model_files import find_model_files
from faceid_files import relative_error
from flux_folder import save_flux_models
from pulid_files import seen_faces
from small_checkpoints import TOWER, save_sdxl_models
from tiny_people import photos

METHODS = ("tiny", "faceid", "instantid", "pulid", "flux")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return save_sdxl_models(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("scratch"))


class Blind(Engine):
    """Without what sees the structure of a face, which needs timm."""

    def _open_structure(self, files):
        return None


@pytest.fixture(scope="module", params=METHODS)
def engine(request, tmp_path_factory):
    if request.param == "tiny":
        return request.getfixturevalue("tiny_engine")
    if request.param == "flux":
        return Blind(find_model_files(save_flux_models(tmp_path_factory.mktemp("flux"))))
    return Blind(find_model_files(request.getfixturevalue("sdxl"), request.param))


@pytest.fixture
def asked(engine):
    """Three, with all that may differ."""
    if engine.method == "pulid":
        faces = [seen_faces(seed=seed, states=TOWER) for seed in range(3)]
    elif engine.checkpoint.kind.base == SDXL:
        photo = torch.from_numpy(data.astronaut())[None].float() / 255
        faces = [engine.embed(each)[0] for each in (photo, photo.flip(2), 1 - photo)]
    else:
        faces = [engine.embed(photos(number))[0] for number in range(3)]
    size = {"face_image": "a.png", "width": 64, "height": 72, "num_inference_steps": 21, "safety_checker": False}
    requests = (
        FaceGenRequest(prompt="a pilot", seed=5, s_scale=0.3, **size),
        FaceGenRequest(prompt="a sailor at sea, wide angle", negative_prompt="rain", seed=6, style="anime", samples=2, **size),
        FaceGenRequest(prompt="a king", seed=5, s_scale=2.0, style="comic", **size),
    )
    return [Asked(*each) for each in zip(requests, faces, strict=True)]


@pytest.fixture(autouse=True)
def few_steps(engine, monkeypatch):
    """Three, however many are asked for."""
    scheduler = type(engine.checkpoint.scheduler)
    set_timesteps, is_flux = scheduler.set_timesteps, engine.flux_face is not None

    def few(self, steps=None, sigmas=None, **more):
        return set_timesteps(self, sigmas=sigmas[::9], **more) if is_flux else set_timesteps(self, min(3, steps), **more)

    monkeypatch.setattr(scheduler, "set_timesteps", few)


def test_each_gets_its_own_pictures(engine, asked):
    alone = [engine.generate(one.request, one.face_embeds) for one in asked]
    together = engine.generate_together(asked)
    assert [len(result.images) for result in together] == [1, 2, 1]
    assert [result.request for result in together] == [result.request for result in alone]
    for number, (given, wanted) in enumerate(zip(together, alone, strict=True)):
        rounding = relative_error(given.images, wanted.images)
        another = engine.generate(asked[number].request, asked[number - 1].face_embeds)
        assert rounding < 5e-4 and rounding < relative_error(another.images, wanted.images) / 10, "as if it were another face"


def test_what_does_not_fit_together_is_refused(engine, asked):
    for name, value in (("width", 72), ("height", 64), ("num_inference_steps", 31), ("guidance_scale", 3.0)):
        other = dataclasses.replace(asked[0].request, **{name: value})
        with pytest.raises(ValueError, match="don't fit together"):
            engine.generate_together([asked[1], Asked(other, asked[0].face_embeds)])
    with pytest.raises(ValueError, match="don't fit together"):
        engine.generate_together([asked[0], Asked(asked[1].request, None)])

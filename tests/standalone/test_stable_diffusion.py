"""The sampling loop gives the pictures of diffusers' own pipeline, bit by bit."""

import functools
import json
import shutil

import pytest
import torch

from facegen.errors import FaceGenError
from facegen.models import tiny_files
from facegen.models.tiny_files import TINY
from facegen.standalone.checkpoints.opening import open_checkpoint
from facegen.standalone.sampling.stable_diffusion import first_noise

PROMPT, NEGATIVE = "a portrait of a person, realistic", "dark"
LONG = " ".join(["a person in a red coat before a blue wall,"] * 12)  # more than 77 tokens


def checkpoint(folder, **scheduler):
    """The tiny model's, with another scheduler configuration."""
    shutil.copytree(TINY / tiny_files.CHECKPOINT, folder)
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | scheduler), encoding="utf-8")
    return folder


@functools.cache
def both(folder, dtype):
    """Ours and the pipeline."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True).to(dtype)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
    return open_checkpoint(folder, dtype=dtype), pipe


def sampled_by_both(folder, prompt=PROMPT, negative=NEGATIVE, guidance=2.0, samples=1, size=(64, 64), dtype=torch.float32):
    """Pictures [samples, height, width, 3] (0-1) of our loop and of the pipeline."""
    (ours, pipe), (width, height) = both(folder, dtype), size
    pictures = ours.sample(
        [prompt],
        [negative],
        width=width,
        height=height,
        steps=4,
        guidance=guidance,
        generator=torch.Generator().manual_seed(5),
        samples=samples,
    )
    theirs = pipe(
        prompt,
        negative_prompt=negative,
        width=width,
        height=height,
        num_inference_steps=4,
        guidance_scale=guidance,
        num_images_per_prompt=samples,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images
    return pictures, theirs.movedim(1, -1).float()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"negative": ""},
        {"guidance": 1.0},
        {"guidance": 7.5, "samples": 2},
        {"size": (136, 72)},
        {"prompt": LONG, "negative": LONG},
        {"dtype": torch.bfloat16},
    ],
    ids=str,
)
def test_pictures_are_the_pipeline_s(asked):
    ours, theirs = sampled_by_both(TINY / tiny_files.CHECKPOINT, **asked)
    assert ours.shape == theirs.shape and ours.std() > 0.02 and torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "scheduler",
    [
        {"prediction_type": "v_prediction"},
        # Its steps add noise, which has to come from the seed.
        {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"},
        {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"},
    ],
    ids=str,
)
def test_the_checkpoint_s_own_schedule_counts(tmp_path, scheduler):
    ours, theirs = sampled_by_both(checkpoint(tmp_path / "checkpoint", **scheduler))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("lost", ["model_index.json", "unet/config.json", "tokenizer/vocab.json", "scheduler"])
def test_a_checkpoint_that_is_not_whole_is_named(tmp_path, lost):
    folder = checkpoint(tmp_path / "checkpoint")
    (shutil.rmtree if (folder / lost).is_dir() else type(folder).unlink)(folder / lost)
    with pytest.raises(
        FaceGenError, match=r"checkpoint (could not be loaded as a checkpoint of SD1\.5|can't be read as a checkpoint): "
    ):
        open_checkpoint(folder)


def test_rows_that_share_a_generator_get_the_noise_that_they_get_alone():
    """Which a row of 324 numbers after another wouldn't: PyTorch draws 16 at a time."""

    def generator(seed):
        return torch.Generator().manual_seed(seed)

    first, second = generator(5), generator(6)
    where = torch.device("cpu"), torch.float32
    together = first_noise((3, 4, 9, 9), [first, first, second], *where)
    alone = [first_noise((2, 4, 9, 9), generator(5), *where), first_noise((1, 4, 9, 9), generator(6), *where)]
    assert torch.equal(together, torch.cat(alone))

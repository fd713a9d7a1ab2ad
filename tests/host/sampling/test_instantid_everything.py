"""InstantID with everything at once: one face per picture, a mask, two areas, windows of the batch and of the picture, another
ControlNet before it and after it, with and without guidance. What each row of a call is given is that of its own picture."""

import comfy.samplers
import nodes as comfy_nodes
import pytest
import torch

import comfy_unets
import instantid_step
from comfy_sampling import NEGATIVE, POSITIVE, guider, sample, windowed
from faceid_files import relative_error
from instantid_step import FACE, ONE_LEVEL, person, prompt, small_control

PEOPLE = 4
FACES = tuple({**FACE, "kps": [[x + 9 * n, y - 5 * n] for x, y in FACE["kps"]]} for n in range(PEOPLE))
HALVES = [(1.0, 0.5, 0.0, 0.0), (1.0, 0.5, 0.0, 0.5)]

pytestmark = pytest.mark.newest


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    adapter = instantid_step.adapter(tmp_path_factory.mktemp("instantid"), instantid_step.adapter_state([64] * 4))
    return comfy_unets.sdxl(**ONE_LEVEL), adapter, small_control(4), small_control(5), small_control(6)


@pytest.fixture
def patched(run, parts):
    """patched(faces, mask): model and conditionings, one of our ControlNets between two others."""
    model, adapter, control_net, before, after = parts

    def patched(faces, mask):
        conds = [[prompt(seed, area=("percentage", *half))[0] for half in HALVES] for seed in (POSITIVE, NEGATIVE)]
        stock = comfy_nodes.ControlNetApplyAdvanced().apply_controlnet
        picture = torch.rand(1, 64, 128, 3, generator=torch.Generator().manual_seed(1))
        conds = stock(*conds, before, picture, 0.5, 0.0, 1.0)
        model_, *conds = run(
            "FaceGenApplyInstantID",
            model=model, instantid=adapter, face_embeds=faces, positive=conds[0], negative=conds[1], control_net=control_net,
            mask=mask,
        )  # fmt: skip
        return model_, *stock(*conds, after, picture, 0.5, 0.0, 1.0)

    return patched


def one(faces, number):
    alone = person(1, faces=(FACES[number],))
    object.__setattr__(alone, "identity", faces.identity[number : number + 1])
    return alone


def generate(model, *conds, cfg, batch=PEOPLE):
    return sample(guider(model, comfy.samplers.CFGGuider, conds, (cfg,)), size=(8, 16), batch=batch, steps=2)


WINDOWS = {"whole": None, "in order": [[0, 1], [2, 3]], "mixed": [[3, 1], [0, 2]]}


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_each_picture_is_as_if_it_were_alone(patched, cfg):
    faces = person(PEOPLE, faces=FACES, per_image=True)
    masks = torch.zeros(PEOPLE, 64, 128)
    for number in range(PEOPLE):
        masks[number, :, 16 * number : 16 * number + 64] = 1
    alone = []
    for number in range(PEOPLE):
        model, *conds = patched(one(faces, number), masks[number : number + 1])
        alone.append(generate(model, *conds, cfg=cfg)[number])  # the noise is the batch's
    model, *conds = patched(faces, masks)
    for how, windows in WINDOWS.items():
        together = generate(windowed(model, 2, windows=windows) if windows else model, *conds, cfg=cfg)
        for number in range(PEOPLE):
            assert relative_error(together[number], alone[number]) < 1e-5, (how, number)
            assert relative_error(together[(number + 1) % PEOPLE], alone[number]) > 0.01

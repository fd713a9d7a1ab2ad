"""PuLID in diffusers' SDXL: whole steps against the plain reference in each attention."""

import pytest
import torch
import torch.nn.functional as F

import pulid_reference as reference
from facegen.errors import MissingStructureError, WrongBaseModelError
from facegen.models.identity.pulid.adapter import PulidAdapter
from facegen.models.identity.pulid.orthogonal import PROJECTIONS
from facegen.models.identity.shown import Shown
from facegen.standalone.identity import apply_pulid
from faceid_files import random_faces, relative_error
from pulid_files import flux_state, save, sdxl_state, seen_faces
from small_checkpoints import BLOCKS, CONTEXT, POOLED, unet

CONTEXT_DIM = CONTEXT["SDXL"]
PARTS = ("down_blocks", "up_blocks", "mid_block")  # as the published files number them


@pytest.fixture(scope="module")
def state():
    return sdxl_state(BLOCKS["SDXL"], CONTEXT_DIM, depth=5)


@pytest.fixture(scope="module")
def adapter(state, tmp_path_factory):
    return PulidAdapter(save(state, tmp_path_factory.mktemp("pulid") / "any name.safetensors"))


class Plain:
    """An attention processor: attention written plainly, plus what the reference says."""

    def __init__(self, state, number, tokens, sides, settings):
        self.state, self.number, self.tokens, self.sides, self.settings = state, number, tokens, sides, settings

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        q, k, v = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        heads = [t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v)]
        own = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        rows = [
            reference.sdxl_addition(
                self.state, self.number, self.tokens[side][0], own[row], q[row], attn.heads, **self.settings
            )
            for row, side in enumerate(self.sides)
        ]
        return attn.to_out[0](own + torch.stack(rows))


def expected_step(state, tokens, sides, given, **settings):
    network = unet("SDXL")
    names = [name for name in network.attn_processors if ".attn2." in name]
    ordered = sorted(names, key=lambda name: PARTS.index(name.split(".")[0]))
    plain = {name: Plain(state, ordered.index(name), tokens, sides, settings) for name in names}
    network.set_attn_processor({**network.attn_processors, **plain})
    return predict(network, given)


def predict(network, given):
    latents, text, added = given
    with torch.no_grad():
        return network(latents, torch.tensor(500), text, added_cond_kwargs=added).sample


def step(rows, seed=9):
    g = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]]).expand(rows, -1)
    added = {"text_embeds": torch.randn(rows, POOLED, generator=g), "time_ids": sizes}
    return torch.randn(rows, 4, 8, 8, generator=g), torch.randn(rows, 7, CONTEXT_DIM, generator=g), added


@pytest.mark.parametrize("sides", [(1, 0), (0,)], ids=["both sides", "conditional alone"])
@pytest.mark.parametrize(("projection", "num_zero"), [(projection, n) for projection in PROJECTIONS for n in (0, 8)])
def test_a_whole_step_equals_the_reference(state, adapter, projection, num_zero, sides):
    network, given, faces = unet("SDXL"), step(len(sides)), seen_faces()
    plain = predict(network, given)
    weight, settings = 0.8, {"projection": projection, "num_zero": num_zero}
    apply_pulid(network, adapter, [Shown(faces, weight)], sides=sides, **settings)
    ours, wanted = predict(network, given), expected_step(state, adapter.tokens(faces), sides, given, weight=weight, **settings)
    for row in range(len(sides)):
        assert relative_error(ours[row], wanted[row]) < 1e-4
        assert relative_error(plain[row], wanted[row]) > 1e-3


def test_another_face_takes_the_place_of_the_first(adapter):
    once, twice, given = unet("SDXL"), unet("SDXL"), step(2)
    apply_pulid(twice, adapter, [Shown(seen_faces(seed=5))])
    for network in (once, twice):
        apply_pulid(network, adapter, [Shown(seen_faces())])
    assert torch.equal(predict(once, given), predict(twice, given))


def test_a_file_for_flux_and_faces_without_structure_are_refused(adapter, tmp_path):
    flux = PulidAdapter(save(flux_state(4), tmp_path / "flux.safetensors"))
    with pytest.raises(WrongBaseModelError, match=r"pulid_flux adapter, made for FLUX\.1 .* but the model is a UNet"):
        apply_pulid(unet("SDXL"), flux, [Shown(seen_faces())])
    with pytest.raises(MissingStructureError, match="reads the structure of the face"):
        apply_pulid(unet("SDXL"), adapter, [Shown(random_faces(clip=None))])

"""The stages that train the tiny model's decoder alone: of drawings, and of what its UNet samples."""

import pytest
import torch
import torch.nn.functional as F

from facegen.tools.tiny_model.stages import decoder
from facegen.tools.tiny_model.stages.autoencoder import Narrow
from facegen.tools.tiny_model.stages.decoder import SHAPES, DecoderTraining, contrast
from facegen.tools.tiny_model.worker import Worker


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DecoderTraining(Narrow())


@pytest.fixture
def pictures():
    torch.manual_seed(1)
    return F.interpolate(torch.rand(2, 3, 16, 16), size=64, mode="nearest") * 2 - 1


def loss(network, pictures, sampled, before, far=1.0):
    torch.manual_seed(2)
    return network.loss(Worker(None, 0), pictures, torch.tensor(far), sampled, before)


def test_the_decoder_and_its_judge_learn_and_the_encoder_does_not(network, pictures):
    nothing = torch.zeros(0, 4, 8, 8), torch.zeros(0, 3, 64, 64)
    loss(network, pictures, *nothing).backward()
    learning = {
        name.split(".")[0 if name.startswith("patches") else 1] for name, p in network.named_parameters() if p.grad is not None
    }
    assert learning == {"decoder", "patches"}


def test_what_is_sampled_stays_as_it_was_but_for_what_is_finer(network, pictures):
    """Shifted as a whole, it costs; with other details of the same mean, it doesn't."""
    sampled = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        before = network.narrow.decode(sampled)
    details = torch.randn(1, 3, 64, 64)
    details -= F.interpolate(F.avg_pool2d(details, SHAPES), size=64, mode="nearest")
    costs = [loss(network, pictures, sampled, before + change, far=0.0).item() for change in (0, 0.3, details)]
    assert costs[1] > costs[0] + 0.2 and costs[2] == pytest.approx(costs[0], rel=1e-4)


def test_blurred_pictures_lack_contrast(pictures):
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    flat = torch.full_like(pictures, 0.5)
    sharp, soft, none = (contrast(x).mean().item() for x in (pictures, blurred, flat))
    assert sharp > 1.5 * soft and soft > 10 * none and none == pytest.approx(0.01)
    assert contrast(pictures).shape == (2, 1, 64 // decoder.PATCH, 64 // decoder.PATCH)

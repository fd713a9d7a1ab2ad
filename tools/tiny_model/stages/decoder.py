"""The decoder alone, once latents are settled: sharper than what an encoder learns beside, and used to a UNet's latents.

Latents that a UNet samples lack what it could not foresee, and decode to soft pictures. Nobody knows the drawing that belongs
to them, so a decoder that is to draw it all the same is held by its judge, and by the colours and shapes that it showed before.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import EACH, Drawings
from ..drawings.person import STYLES
from ..language import token_ids, unwanted
from ..shares import TEXTS, VIEWS
from ..worker import Worker, train
from .autoencoder import CROP, NOISE, Narrow, as_pictures, crops, distance, say_sharpness
from .conditions import Conditions
from .diffusion import LatentDiffusion
from .patches import OWN, SEEN_ALIKE, Patches, balance
from .sampled import STEPS, Side, sample

RATE = 5e-4
JUDGED = 1.0  # how much the judgement moves a pixel, against everything else
JUDGED_FROM = 0.1  # of the stage: before, the judge only learns
PATCH = 8  # pixels within which contrast is compared
CONTRAST = 1.0  # against everything else that is compared
SHAPES = 4  # pixels within which sampled pictures stay as they were
AT_ONCE = 256  # portraits that are sampled


class DecoderTraining(nn.Module):
    """The encoder stays as it is: others read its latents."""

    def __init__(self, narrow: Narrow):
        super().__init__()
        self.narrow, self.patches = narrow, Patches()
        self.narrow.encoder.requires_grad_(False)

    def loss(self, worker: Worker, pictures: Tensor, far: Tensor, sampled: Tensor, before: Tensor) -> Tensor:
        """Of pictures [n, 3, H, W] (-1..1), and of sampled latents [m, 4, H/8, W/8], m <= n, with what they were decoded to
        before [m, 3, H, W]. m may be 0."""
        n = len(pictures)
        with worker.fast():
            with torch.no_grad():
                latents = self.narrow.encode(pictures).float()
            amount = NOISE * torch.rand(n, 1, 1, 1, device=latents.device)
            noisy = latents + amount * torch.randn_like(latents)
            decoded = self.narrow.decode(torch.cat([noisy, sampled])).float()
        own, others = decoded[:n], decoded[n:]
        alike = distance(own, pictures) + CONTRAST * (contrast(own) - contrast(pictures)).abs().mean()
        if len(sampled):
            shapes = F.avg_pool2d(others - before, SHAPES)
            alike = alike + shapes.abs().mean() + 4 * F.avg_pool2d(shapes, 8 // SHAPES).square().mean()
        drawn = torch.cat([pictures, pictures[: len(sampled)].flip(3)])
        seen_alike, verdict, told = self.patches.judge(worker, decoded, drawn, pairs=n)
        judged = SEEN_ALIKE * seen_alike - verdict
        amount = ((far - JUDGED_FROM) / 0.1).clamp(0, 1) * JUDGED * balance(alike, judged, decoded)
        return alike + amount * judged + OWN * told


def contrast(pictures: Tensor) -> Tensor:
    """The spread of the Laplacian of the brightness within patches of pictures [n, 3, H, W], [n, 1, H/PATCH, W/PATCH] (after
    arXiv:2202.00997, which compares that of gradients)."""
    light = pictures.mean(dim=1, keepdim=True)
    padded = F.pad(light, (1, 1, 1, 1), mode="replicate")
    edges = padded[:, :, 2:, 1:-1] + padded[:, :, :-2, 1:-1] + padded[:, :, 1:-1, 2:] + padded[:, :, 1:-1, :-2] - 4 * light
    return (F.avg_pool2d(edges.square(), PATCH) + 1e-4).sqrt()


def train_decoder(worker: Worker, drawings: Drawings, narrow: Narrow, steps: int, batch: int = 12) -> None:
    """Of the drawings alone, in place."""
    nothing = torch.zeros(0, 4, CROP // 8, CROP // 8, device=worker.device)
    none = torch.zeros(0, 3, CROP, CROP, device=worker.device)
    _train(worker, "decoder", drawings, narrow, steps, batch, lambda _: (nothing, none))


def train_on_sampled(
    worker: Worker,
    drawings: Drawings,
    conditions: Conditions,
    diffusion: LatentDiffusion,
    tokenizer,
    narrow: Narrow,
    portraits: int,
    steps: int,
    batch: int = 12,
) -> None:
    """Of drawings and, as many, portraits that the UNet samples, in place."""
    if (worker.folder / "retouch.pt").is_file():
        latents = torch.zeros(1, 4, CROP // 8, CROP // 8, device=worker.device)
    else:
        latents = sample_portraits(worker, drawings, conditions, diffusion, tokenizer, portraits)
    old = copy.deepcopy(narrow).requires_grad_(False)
    side, across = latents.shape[-1], CROP // 8

    def some(count: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(latents), (count,), device=worker.device)
        along = torch.arange(across, device=worker.device)
        y, x = (torch.randint(side - across + 1, (count, 1), device=worker.device) + along for _ in range(2))
        parts = latents.movedim(1, -1)[chosen[:, None, None], y[:, :, None], x[:, None, :]].movedim(-1, 1)
        with torch.no_grad(), worker.fast():
            return parts, old.decode(parts).float()

    _train(worker, "retouch", drawings, narrow, steps, batch, some)


def _train(worker: Worker, name: str, drawings: Drawings, narrow: Narrow, steps: int, batch: int, sampled) -> None:
    network = worker.build(lambda: DecoderTraining(narrow).to(memory_format=torch.channels_last))
    count = max(2, batch // worker.world)

    def loss(far: Tensor) -> Tensor:
        return network.loss(worker, as_pictures(crops(drawings, count)), far, *sampled(count))

    drawings.wait(1)
    train(worker, name, network, loss, steps, RATE, keep=0.99, between=drawings.look)
    say_sharpness(worker, drawings, narrow, name)


def sample_portraits(
    worker: Worker, drawings: Drawings, conditions: Conditions, diffusion: LatentDiffusion, tokenizer, portraits: int
) -> Tensor:
    """Latents [portraits, 4, side, side] of people and captions of the training, as the engine would sample them."""
    worker.chance("sampled")
    count = min(portraits, AT_ONCE if worker.device.type == "cuda" else 4)
    times, steps = (1, 2) if worker.trial else (portraits // count, STEPS)
    negative = torch.from_numpy(token_ids(tokenizer, unwanted()[1:])).to(worker.device)
    ones = torch.ones(count, device=worker.device)

    def some() -> Tensor:
        rows = drawings.rows(count)
        photos = drawings.photos(rows // EACH, torch.randint(VIEWS, (count,), device=worker.device))
        identity, states = conditions.identities[photos].float(), conditions.states[photos].float()
        captions = torch.randint(TEXTS, (count,), device=worker.device)
        prompted = Side(drawings.texts[rows, 0, captions].long(), identity, states)
        other = Side(negative[rows % len(STYLES)], torch.zeros_like(identity), conditions.nothing.expand_as(states))
        side = conditions.latents.shape[-1]
        noise = torch.randn(count, 4, side, side, device=worker.device)
        return sample(diffusion, other, prompted, ones, ones, noise, steps=steps)

    return torch.cat([some() for _ in range(times)])

"""TAESD's autoencoder (https://github.com/madebyollin/taesd): its decoder as published, its encoder narrower.

The encoder's file has the published widths, too; what is left out is zero, which changes nothing: a block of zeros returns its
input, a channel of zeros stays zero. Pictures are to be sharp, so another network judges them, see patches.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..crops import sharpness
from ..data import Drawings
from ..worker import Worker, train
from .patches import OWN, SEEN_ALIKE, Patches, balance

# Blocks and channels per level: the encoder's from pixels to latents, the decoder's from latents to pixels.
ENCODER, DECODER = ((0, 32), (1, 48), (2, 64), (3, 64)), ((3, 64), (3, 64), (3, 64), (1, 64))
PUBLISHED = (1, 3, 3, 3), (3, 3, 3, 1)  # blocks
CROP = 128  # pixels; the network has no notion of place
NOISE = 0.16  # in the latents, at most, as they come from a diffusion model
JUDGED_FROM = 0.35  # of the stage: before, decoded pictures are too easily told
JUDGED = 0.5  # how much the judgement moves a pixel, against everything else


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, 1, 1) for _ in range(3)]
        self.conv = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


class Narrow(nn.Module):
    """Latents have about unit variance; pictures are -1..1."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({"layers": nn.ModuleDict(_encoder())})
        self.decoder = nn.ModuleDict({"layers": nn.ModuleDict(_decoder())})
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for layer in self.modules():
            if isinstance(layer, _Block):  # each returns its input at first, so that colours find their way
                nn.init.zeros_(layer.conv[-1].weight)
                nn.init.zeros_(layer.conv[-1].bias)
        self._let_colours_through()

    @torch.no_grad()
    def _let_colours_through(self) -> None:
        """At first three latents are the colours of eight by eight pixels, and decoding shows them: from chance alone, training
        takes long to find the second and third axis of colour."""
        for half in (self.encoder, self.decoder):
            convolutions = [layer for layer in half["layers"].values() if isinstance(layer, nn.Conv2d)]
            for layer in convolutions:
                taps = torch.tensor([0.25, 0.5, 0.25] if layer.stride[0] == 2 else [0.0, 1.0, 0.0])
                layer.weight[:3] = 0.02 * layer.weight[:3] if layer is convolutions[-1] else 0
                for colour in range(3):
                    layer.weight[colour, :3] = 0
                    layer.weight[colour, colour] = taps[:, None] * taps
                if layer.bias is not None:
                    layer.bias[:3] = 0
        layers = self.encoder["layers"], self.decoder["layers"]
        last, first = list(layers[0].values())[-1], next(iter(layers[1].values()))
        last.weight[:3].mul_(3)
        last.bias[:3] = -1.5
        first.weight[:3].div_(3)
        first.bias[:3] = 0.5

    def encode(self, pictures: Tensor) -> Tensor:
        return _through(self.encoder["layers"], (pictures + 1) / 2)

    def decode(self, latents: Tensor) -> Tensor:
        return _through(self.decoder["layers"], torch.tanh(latents / 3) * 3) * 2 - 1


def _through(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    for layer in layers.values():
        x = layer(x)
    return x


def _encoder() -> dict[str, nn.Module]:
    """Layers by their numbers in the published network. Blocks that are left out would end in a ReLU, so one stays."""
    layers, number, before = {}, 0, 3
    for level, ((blocks, width), published) in enumerate(zip(ENCODER, PUBLISHED[0], strict=True)):
        layers[str(number)] = nn.Conv2d(before, width, 3, 2 if level else 1, 1, bias=not level)
        kept = [_Block(width) for _ in range(blocks)] or [nn.ReLU()]
        layers |= {str(number + 1 + i): layer for i, layer in enumerate(kept)}
        number, before = number + 1 + published, width
    return {**layers, str(number): nn.Conv2d(before, 4, 3, 1, 1)}


def _decoder() -> dict[str, nn.Module]:
    first = DECODER[0][1]
    layers, number = {"0": nn.Conv2d(4, first, 3, 1, 1), "1": nn.ReLU()}, 2
    for level, ((blocks, width), published) in enumerate(zip(DECODER, PUBLISHED[1], strict=True)):
        layers |= {str(number + i): _Block(width) for i in range(blocks)}
        number += published
        if level < len(DECODER) - 1:
            layers[str(number)] = nn.Upsample(scale_factor=2)
            layers[str(number + 1)] = nn.Conv2d(width, DECODER[level + 1][1], 3, 1, 1, bias=False)
            number += 2
    return {**layers, str(number): nn.Conv2d(width, 3, 3, 1, 1)}


def widen(narrow: Narrow) -> dict[str, Tensor]:
    """The state of diffusers' AutoencoderTiny that computes the same."""
    from diffusers import AutoencoderTiny

    wide = {name: torch.zeros_like(tensor) for name, tensor in AutoencoderTiny().state_dict().items()}
    for name, tensor in narrow.state_dict().items():
        wide[name][tuple(map(slice, tensor.shape))] = tensor
    return wide


def distance(decoded: Tensor, pictures: Tensor) -> Tensor:
    """How far decoded pictures are from what they were [n, 3, H, W]: in pixels, edges and the colours of latents."""
    off = decoded - pictures
    edges = sum(off.diff(dim=d).abs().mean() for d in (2, 3))
    colours = F.avg_pool2d(off, 8).square().mean()  # without it, two of three colour axes are given up for edges
    return off.abs().mean() + 0.5 * edges + 4 * colours


class AutoencoderTraining(nn.Module):
    def __init__(self):
        super().__init__()
        self.narrow, self.patches = Narrow(), Patches()

    def loss(self, worker: Worker, pictures: Tensor, far: Tensor) -> Tensor:
        """Of pictures [n, 3, H, W] (-1..1), `far` through the stage (0 to 1)."""
        with worker.fast():
            latents = self.narrow.encode(pictures).float()
            amount = NOISE * torch.rand(len(latents), 1, 1, 1, device=latents.device)
            decoded = self.narrow.decode(latents + amount * torch.randn_like(latents)).float()
        spread = (latents.mean(dim=(0, 2, 3)).square() + (latents.std(dim=(0, 2, 3)) - 1).square()).sum()
        alike = distance(decoded, pictures)
        seen_alike, verdict, own = self.patches.judge(worker, decoded, pictures)
        judged = SEEN_ALIKE * seen_alike - verdict
        amount = ((far - JUDGED_FROM) / 0.1).clamp(0, 1) * JUDGED * balance(alike, judged, decoded)
        return alike + 0.02 * spread + amount * judged + OWN * own


def train_autoencoder(worker: Worker, drawings: Drawings, steps: int, batch: int = 12) -> Narrow:
    network = worker.build(lambda: AutoencoderTraining().to(memory_format=torch.channels_last))
    count = max(2, batch // worker.world)

    def loss(far: Tensor) -> Tensor:
        return network.loss(worker, as_pictures(crops(drawings, count)), far)

    drawings.wait(1)
    train(worker, "autoencoder", network, loss, steps, 1e-3, between=drawings.look)
    say_sharpness(worker, drawings, network.narrow, "autoencoder")
    return network.narrow


@torch.no_grad()
def say_sharpness(worker: Worker, drawings: Drawings, narrow: Narrow, stage: str) -> None:
    worker.chance("sharpness")
    pictures = as_pictures(crops(drawings, 8))
    decoded = narrow.decode(narrow.encode(pictures))
    ratio = sharpness((decoded + 1) * 127.5).mean() / sharpness((pictures + 1) * 127.5).mean()
    worker.say(f"{stage}: decoded pictures are {ratio.item():.0%} as sharp as the drawings")


def crops(drawings: Drawings, count: int) -> Tensor:
    """uint8 [count, CROP, CROP, 3]"""
    pictures, rows = drawings.pictures, drawings.rows(count)
    room, along = pictures.shape[1] - CROP + 1, torch.arange(CROP, device=rows.device)
    y, x = (torch.randint(room, (count, 1), device=rows.device) + along for _ in range(2))
    return pictures[rows[:, None, None], y[:, :, None], x[:, None, :]]


def as_pictures(pictures: Tensor) -> Tensor:
    """uint8 [n, H, W, 3] to [n, 3, H, W] in -1..1."""
    return pictures.movedim(-1, 1).float() / 127.5 - 1

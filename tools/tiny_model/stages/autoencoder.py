"""TAESD's autoencoder (https://github.com/madebyollin/taesd), trained narrow and shipped in the published widths.

The more pixels a level has, the fewer channels it is trained with, and the encoder does without most blocks; what is left
out is zero in the file, which changes nothing: a block of zeros returns its input, a channel of zeros stays zero.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Drawings
from ..worker import Worker, save, train

# Blocks and channels per level: the encoder's from pixels to latents, the decoder's from latents to pixels.
ENCODER, DECODER = ((0, 16), (0, 32), (1, 48), (3, 48)), ((3, 64), (3, 48), (2, 32), (1, 16))
PUBLISHED = (1, 3, 3, 3), (3, 3, 3, 1)  # blocks
CROP = 64  # pixels; the network has no notion of place
NOISE = 0.08  # in the latents, as they come from a diffusion model


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


def train_autoencoder(worker: Worker, drawings: Drawings, steps: int, batch: int = 12) -> Narrow:
    narrow = worker.build(lambda: Narrow().to(memory_format=torch.channels_last))
    count = max(2, batch // worker.world)

    def loss(rng: np.random.Generator) -> Tensor:
        pictures = as_pictures(np.stack([_crop(drawings, rng) for _ in range(count)])).to(worker.device)
        latents = narrow.encode(pictures)
        spread = (latents.mean(dim=(0, 2, 3)).square() + (latents.std(dim=(0, 2, 3)) - 1).square()).sum()
        noise = torch.from_numpy(rng.normal(0, NOISE, latents.shape).astype(np.float32)).to(worker.device)
        decoded = narrow.decode(latents + noise)
        off = decoded - pictures
        edges = sum(off.diff(dim=d).abs().mean() for d in (2, 3))
        colours = F.avg_pool2d(off, 8).square().mean()  # without it, two of three colour axes are given up for edges
        return off.abs().mean() + 0.5 * edges + 4 * colours + 0.02 * spread

    train(worker, "autoencoder", narrow, loss, steps, 2e-3)
    return narrow


def _crop(drawings: Drawings, rng: np.random.Generator) -> np.ndarray:
    picture = drawings.pictures[tuple(rng.integers(drawings.pictures.shape[:3]))]
    top, left = rng.integers(0, picture.shape[0] - CROP + 1, 2)
    return picture[top : top + CROP, left : left + CROP]


def as_pictures(pictures: np.ndarray) -> Tensor:
    """uint8 [n, H, W, 3] to [n, 3, H, W] in -1..1."""
    return torch.from_numpy(pictures).movedim(-1, 1).float() / 127.5 - 1


def make_latents(worker: Worker, drawings: Drawings, narrow: Narrow) -> np.ndarray:
    """Latents of all drawings, float32 [people, views, styles, 4, 16, 16]."""
    folder = worker.folder / "latents"
    folder.mkdir(exist_ok=True)
    path = folder / f"{worker.rank}.of.{worker.world}.pt"
    if not path.is_file():
        worker.say("latents: encoding the drawings")
        mine = range(worker.rank, drawings.people, worker.world)
        with torch.no_grad():
            done = [narrow.encode(as_pictures(_flat(drawings.pictures[n])).to(worker.device)).cpu() for n in mine]
        save(torch.stack(done), path)
    worker.wait()
    latents = np.empty((drawings.people, np.prod(drawings.pictures.shape[1:3]), 4, 16, 16), np.float32)
    for rank in range(worker.world):
        latents[rank :: worker.world] = torch.load(folder / f"{rank}.of.{worker.world}.pt", weights_only=True).numpy()
    return latents.reshape(*drawings.pictures.shape[:3], 4, 16, 16)


def _flat(array: np.ndarray) -> np.ndarray:
    """Without the axes of view and style."""
    return np.asarray(array).reshape(-1, *array.shape[2:])

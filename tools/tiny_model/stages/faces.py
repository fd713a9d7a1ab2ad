"""The networks that look at faces: who it is (recogniser), and how it is held (CLIP vision)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.safety.clip_vit import views
from ..data import Drawings, aligned, alignment, softened
from ..networks import CLIP_WIDTH, IDENTITY, Recogniser, clip_vision
from ..worker import Worker, train

SHARPNESS = 16.0  # inverse temperature of the contrastive loss
JITTER = 1.2  # pixels by which a detector may be off
SEEN = [0, 1, 3, 4, 5]  # of View.structure(); an aligned face shows no roll


class _RecogniserTraining(nn.Module):
    def __init__(self, attributes: int):
        super().__init__()
        self.recogniser = Recogniser()
        self.attributes = nn.Linear(IDENTITY, attributes)


def train_recogniser(worker: Worker, drawings: Drawings, steps: int, batch: int = 64, name: str = "recogniser") -> Recogniser:
    """Two drawings of a person are to be alike, those of two persons not (NT-Xent, arXiv:2002.05709); besides, a linear
    layer reads the person's attributes from the identity, which keeps in it what an adapter needs to draw the person."""
    network = worker.build(lambda: _RecogniserTraining(drawings.vectors.shape[1]))
    people = min(max(8, batch // worker.world), drawings.people)

    def loss(rng: np.random.Generator) -> Tensor:
        chosen = rng.choice(drawings.people, people, replace=False)
        faces = [_face(drawings, person, rng) for person in np.repeat(chosen, 2)]
        found = F.normalize(network.recogniser(as_input(np.stack(faces)).to(worker.device)), dim=-1)
        alike = SHARPNESS * found @ found.T
        alike.fill_diagonal_(-1e4)
        partner = torch.arange(len(faces), device=worker.device) ^ 1
        wanted = torch.from_numpy(drawings.attributes[chosen]).to(worker.device).repeat_interleave(2, 0)
        off = network.attributes(found * 10) - wanted
        return F.cross_entropy(alike, partner) + 0.5 * off.square().mean()

    train(worker, name, network, loss, steps, 2e-3)
    return network.recogniser


def _face(drawings: Drawings, person: int, rng: np.random.Generator, side: int = 112) -> np.ndarray:
    """A face of that person as the person is, in any style, softened two times in three."""
    view, style = rng.choice(np.argwhere(~drawings.changed[person]))
    points = drawings.points[person, view, style] + rng.normal(0, JITTER, (5, 2))
    face = aligned(drawings.pictures[person, view, style], points.astype(np.float32), side)
    return softened(face, rng) if rng.random() < 2 / 3 else face


def as_input(faces: np.ndarray) -> Tensor:
    """RGB [n, 112, 112, 3] uint8 to ArcFace's input [n, 3, 112, 112] in -1..1."""
    return (torch.from_numpy(faces).movedim(-1, 1).float() - 127.5) / 127.5


class _VisionTraining(nn.Module):
    """Of the last states but one, which FaceID-Plus reads: each patch says how much it is each of the five points, and the
    class token and the patches' mean say how the face is held; so does the projection."""

    def __init__(self, structure: int):
        super().__init__()
        self.clip = clip_vision()
        self.heads = nn.ModuleList(nn.Linear(CLIP_WIDTH, structure) for _ in range(3))
        self.points = nn.Linear(CLIP_WIDTH, 5)
        side = 16  # patches
        middles = (torch.arange(side) * 2 + 1) / side - 1
        self.register_buffer("middles", torch.cartesian_prod(middles, middles).flip(1))  # (x, y) in -1..1

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        out = self.clip(pixels, output_hidden_states=True)
        states = out.hidden_states[-2]
        seen = states[:, 0], states[:, 1:].mean(dim=1), out.image_embeds
        shares = self.points(states[:, 1:]).softmax(dim=1)
        return [head(x) for head, x in zip(self.heads, seen, strict=True)], shares.mT @ self.middles


def train_clip_vision(worker: Worker, drawings: Drawings, steps: int, batch: int = 24, name: str = "clip_vision"):
    """CLIP vision learns pose, expression and where eyes, nose and mouth are."""
    network = worker.build(lambda: _VisionTraining(len(SEEN)))
    count = max(4, batch // worker.world)
    shape = drawings.points.shape[:3]

    def loss(rng: np.random.Generator) -> Tensor:
        places = [tuple(rng.integers(shape)) for _ in range(count)]
        faces, points = zip(*(_structured(drawings, place, rng) for place in places), strict=True)
        held = torch.from_numpy(np.stack([drawings.structure[place][SEEN] for place in places])).to(worker.device)
        where = torch.from_numpy(np.stack(points)).to(worker.device)
        seen, found = network(clip_pixels(np.stack(faces)).to(worker.device))
        return sum(F.mse_loss(x, held) for x in seen) / 3 + F.l1_loss(found, where)

    train(worker, name, network, loss, steps, 3e-3)
    return network.clip


def _structured(drawings: Drawings, place: tuple, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An aligned face [224, 224, 3] and its points in -1..1."""
    points = drawings.points[place]
    found = (points + rng.normal(0, JITTER / 2, (5, 2))).astype(np.float32)
    face, matrix = aligned(drawings.pictures[place], found, 224), alignment(found, 224)
    there = (points @ matrix[:, :2].T + matrix[:, 2]) / 112 - 1
    return softened(face, rng) if rng.random() < 0.3 else face, there.astype(np.float32)


def clip_pixels(faces: np.ndarray) -> Tensor:
    """RGB [n, 224, 224, 3] uint8 as CLIP takes them, [n, 3, 224, 224]."""
    return views(torch.from_numpy(faces).float() / 255, 224)[:, 0]  # of a square there is one view

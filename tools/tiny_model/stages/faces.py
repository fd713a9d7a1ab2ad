"""The networks that look at faces: who it is (recogniser), and how it is held (CLIP vision)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.safety.clip_vit import MEAN, STD
from ..crops import aligned, alignment, channels_first, moved, softened, warped
from ..data import Drawings
from ..networks import CLIP_WIDTH, IDENTITY, Recogniser, clip_vision
from ..worker import Worker, train

SHARPNESS = 16.0  # inverse temperature of the contrastive loss
JITTER = 2.4  # pixels by which a detector may be off
SEEN = [0, 1, 3, 4, 5]  # of View.structure(); an aligned face shows no roll


class _RecogniserTraining(nn.Module):
    def __init__(self, attributes: int):
        super().__init__()
        self.recogniser = Recogniser()
        self.attributes = nn.Linear(IDENTITY, attributes)


def train_recogniser(worker: Worker, drawings: Drawings, steps: int, batch: int = 64, name: str = "recogniser") -> Recogniser:
    """Two drawings of a person are to be alike, those of two persons not (NT-Xent, arXiv:2002.05709); besides, a linear
    layer reads the person's attributes from the identity, which keeps in it what an adapter needs to draw the person."""
    network = worker.build(lambda: _RecogniserTraining(drawings.attributes.shape[1]))
    count = min(max(4, batch // worker.world), drawings.people)
    partner = torch.arange(2 * count, device=worker.device) ^ 1
    itself = torch.eye(2 * count, dtype=torch.bool, device=worker.device)

    def loss(_: Tensor) -> Tensor:
        people = drawings.someone(count).repeat_interleave(2)
        rows = drawings.as_they_are(people)
        faces = softened(_faces(drawings, rows, 112, JITTER), 2 / 3)
        with worker.fast():
            found = network.recogniser(as_input(faces))
        found = F.normalize(found.float(), dim=-1)
        alike = (SHARPNESS * found @ found.T).masked_fill(itself, -1e4)
        off = network.attributes(found * 10) - drawings.attributes[people]
        return F.cross_entropy(alike, partner) + 0.5 * off.square().mean()

    drawings.wait(count)
    train(worker, name, network, loss, steps, 2e-3, between=drawings.look)
    return network.recogniser


def _faces(drawings: Drawings, rows: Tensor, side: int, jitter: float) -> Tensor:
    """Aligned faces, float [n, 3, side, side] (0-255), by points that are somewhat off."""
    points = drawings.points[rows]
    return aligned(channels_first(drawings.pictures[rows]), points + jitter * torch.randn_like(points), side)


def as_input(faces: Tensor) -> Tensor:
    """RGB [n, 3, 112, 112] (0-255) to ArcFace's input in -1..1."""
    return (faces - 127.5) / 127.5


class VisionTraining(nn.Module):
    """Of the last states but one, which FaceID-Plus reads: each patch says how much it is each of the five points, and the
    class token and the patches' mean say how the face is held; so does the projection."""

    def __init__(self):
        super().__init__()
        self.clip = clip_vision()
        self.heads = nn.ModuleList(nn.Linear(CLIP_WIDTH, len(SEEN)) for _ in range(3))
        self.points = nn.Linear(CLIP_WIDTH, 5)
        side = 16  # patches
        middles = (torch.arange(side) * 2 + 1) / side - 1
        self.register_buffer("middles", torch.cartesian_prod(middles, middles).flip(1))  # (x, y) in -1..1
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def pixels(self, faces: Tensor) -> Tensor:
        """RGB [n, 3, 224, 224] (0-255) as CLIP takes them."""
        return (faces.round() / 255 - self.mean) / self.std

    def states(self, pixels: Tensor) -> Tensor:
        """[n, 257, width]"""
        return self.clip(pixels, output_hidden_states=True).hidden_states[-2]

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        out = self.clip(pixels, output_hidden_states=True)
        states = out.hidden_states[-2]
        seen = states[:, 0], states[:, 1:].mean(dim=1), out.image_embeds
        shares = self.points(states[:, 1:]).float().softmax(dim=1)
        return [head(x).float() for head, x in zip(self.heads, seen, strict=True)], shares.mT @ self.middles


def train_clip_vision(worker: Worker, drawings: Drawings, steps: int, batch: int = 24) -> VisionTraining:
    """CLIP vision learns pose, expression and where eyes, nose and mouth are."""
    network = worker.build(VisionTraining)
    count = max(4, batch // worker.world)

    def loss(_: Tensor) -> Tensor:
        rows = drawings.rows(count)
        points = drawings.points[rows]
        matrices = alignment(points + JITTER / 2 * torch.randn_like(points), 224)
        faces = softened(warped(channels_first(drawings.pictures[rows]), matrices, 224), 0.3)
        held, where = drawings.held(rows, SEEN), moved(points, matrices) / 112 - 1
        with worker.fast():
            seen, found = network(network.pixels(faces))
        return sum(F.mse_loss(x, held) for x in seen) / 3 + F.l1_loss(found.float(), where)

    train(worker, "clip_vision", network, loss, steps, 3e-3, between=drawings.look)
    return network

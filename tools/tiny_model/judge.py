"""A separately trained network that says what a picture shows; it takes no part in making pictures."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .crops import channels_first, softened
from .data import Drawings
from .shares import KINDS
from .worker import Worker, train

SIDE = 96  # pixels that it looks at
HELD = [0, 1, 3, 4]  # of View.structure(): yaw, pitch, smile, mouth_open


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        self.body = nn.Sequential()
        for before, after in pairwise(widths):
            self.body.append(nn.Conv2d(before, after, 3, 2, 1, bias=False)).append(nn.BatchNorm2d(after)).append(nn.ReLU())
            self.body.append(nn.Conv2d(after, after, 3, 1, 1, bias=False)).append(nn.BatchNorm2d(after)).append(nn.ReLU())
        outputs = sum(map(len, KINDS.values())) + len(HELD)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(widths[-1] * (SIDE // 16) ** 2, outputs))

    def forward(self, pictures: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """RGB float [n, 3, SIDE, SIDE] (0-255) to logits per kind of KINDS, and pose and expression as HELD says, [n, 4]."""
        seen = self.head(self.body((pictures - 127.5) / 127.5).flatten(1))
        *logits, held = seen.float().split([*map(len, KINDS.values()), len(HELD)], dim=1)
        return dict(zip(KINDS, logits, strict=True)), held

    @torch.no_grad()
    def look(self, pictures: Tensor) -> dict[str, list[str] | Tensor]:
        """Of RGB pictures [n, 3, H, W] (0-255): the word for each kind, and "held" [n, 4]."""
        logits, held = self(small(pictures.to(self.head[1].weight.device)))
        words = {kind: [KINDS[kind][i] for i in values.argmax(dim=1).tolist()] for kind, values in logits.items()}
        return {**words, "held": held.cpu()}


def small(pictures: Tensor) -> Tensor:
    return F.interpolate(pictures, size=SIDE, mode="bilinear", antialias=True)


def train_judge(worker: Worker, drawings: Drawings, steps: int, batch: int = 64) -> Judge:
    judge = worker.build(Judge)
    count = max(4, batch // worker.world)

    def loss(_: Tensor) -> Tensor:
        rows = drawings.rows(count)
        pictures = softened(small(channels_first(drawings.pictures[rows])), 0.7)
        with worker.fast():
            logits, held = judge(pictures)
        answers = drawings.answers[rows].long()
        named = sum(F.cross_entropy(logits[kind], answers[:, i]) for i, kind in enumerate(KINDS))
        return named / len(KINDS) + 2 * F.mse_loss(held, drawings.held(rows, HELD))

    train(worker, "judge", judge, loss, steps, 2e-3, between=drawings.look)
    return judge

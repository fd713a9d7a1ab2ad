"""A separately trained network that says what a picture shows; it takes no part in making pictures."""

from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Drawings, softened
from .drawings.person import BACKGROUNDS, HAIR_COLOURS, STYLES
from .worker import Worker, train

SIDE = 64  # pixels that it looks at
HELD = [0, 1, 3, 4]  # of View.structure(): yaw, pitch, smile, mouth_open
KINDS = {"style": STYLES, "glasses": ("no", "yes"), "hair": (*HAIR_COLOURS, "none"), "background": tuple(BACKGROUNDS)}


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        widths = (3, 24, 48, 64, 96)
        self.body = nn.Sequential()
        for before, after in pairwise(widths):
            self.body.append(nn.Conv2d(before, after, 3, 2, 1, bias=False)).append(nn.BatchNorm2d(after)).append(nn.ReLU())
            self.body.append(nn.Conv2d(after, after, 3, 1, 1, bias=False)).append(nn.BatchNorm2d(after)).append(nn.ReLU())
        outputs = sum(map(len, KINDS.values())) + len(HELD)
        self.head = nn.Linear(widths[-1] * 16, outputs)

    def forward(self, pictures: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
        """RGB uint8 [n, SIDE, SIDE, 3] to logits per kind of KINDS, and pose and expression as HELD says, [n, 4]."""
        device = self.head.weight.device
        x = (torch.from_numpy(pictures).to(device).movedim(-1, 1).float() - 127.5) / 127.5
        *logits, held = self.head(self.body(x).flatten(1)).split([*map(len, KINDS.values()), len(HELD)], dim=1)
        return dict(zip(KINDS, logits, strict=True)), held

    @torch.no_grad()
    def look(self, pictures: list[np.ndarray]) -> dict[str, list[str] | np.ndarray]:
        """Of RGB pictures of any size: the word for each kind, and "held" [n, 4]."""
        logits, held = self(np.stack([_small(picture) for picture in pictures]))
        words = {kind: [KINDS[kind][i] for i in values.argmax(dim=1).tolist()] for kind, values in logits.items()}
        return {**words, "held": held.cpu().numpy()}


def _small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def train_judge(worker: Worker, drawings: Drawings, steps: int, batch: int = 64) -> Judge:
    judge = worker.build(Judge)
    count = max(4, batch // worker.world)

    def loss(rng: np.random.Generator) -> Tensor:
        places = [tuple(rng.integers(drawings.pictures.shape[:3])) for _ in range(count)]
        pictures = [_small(drawings.pictures[place]) for place in places]
        pictures = [softened(picture, rng) if rng.random() < 0.5 else picture for picture in pictures]
        logits, held = judge(np.stack(pictures))
        answers = [_answers(drawings.captions[p][v][s], s) for p, v, s in places]
        named = sum(
            F.cross_entropy(logits[kind], torch.tensor([a[kind] for a in answers], device=held.device)) for kind in KINDS
        )
        wanted = torch.from_numpy(np.stack([drawings.structure[place][HELD] for place in places])).to(held.device)
        return named / len(KINDS) + 2 * F.mse_loss(held, wanted)

    train(worker, "judge", judge, loss, steps, 2e-3)
    return judge


def _answers(phrases: dict[str, str], style: int) -> dict[str, int]:
    hair = phrases.get("hair_colour", "none").removesuffix(" hair")
    return {
        "style": style,
        "glasses": int("glasses" in phrases),
        "hair": KINDS["hair"].index(hair),
        "background": KINDS["background"].index(phrases["background"].removesuffix(" background")),
    }

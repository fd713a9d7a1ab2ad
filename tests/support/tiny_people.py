"""Drawn people, whom the tiny model never saw, and what tests ask about pictures of them."""

import numpy as np
import torch
import torch.nn.functional as F

from facegen.models.face.analysis import to_bgr
from facegen.tools.tiny_model.drawings.drawing import draw
from facegen.tools.tiny_model.drawings.person import STYLES, Person, View

SEED = 20_000  # far from the training's
PROMPT = "a portrait"


def person(number):
    return Person.random(np.random.default_rng([SEED, number]))


def photos(number, count=1, style="realistic", first=0):
    """Pictures of one person, RGB [count, 256, 256, 3] (0-1), each in another pose and light."""
    drawn = [
        draw(person(number), View.random(np.random.default_rng([SEED, number, i])), style)[0]
        for i in range(first, first + count)
    ]
    return torch.from_numpy(np.stack(drawn)).float() / 255


def identity(face_analysis, picture):
    """Normalised, of the picture's first face; zeros, like nobody, where there is none."""
    bgr = to_bgr(picture)
    faces = face_analysis.detect(bgr)
    return F.normalize(face_analysis.embed(bgr, faces[:1])[0], dim=0) if faces else torch.zeros(512)


def nearest(face_analysis, pictures, gallery):
    """For each picture, whose identity of the gallery [n, 512] it is most like."""
    return [int((gallery @ identity(face_analysis, picture)).argmax()) for picture in pictures]


class StyleClassifier:
    """Ridge regression on random convolutions, fitted to drawings.

    Generated pictures are softer than drawings. So these are softened first, and all are seen at a size where little of it is
    left.
    """

    SIZE = 48

    def __init__(self, people=40):
        generator = torch.Generator().manual_seed(0)
        self.filters = torch.randn(192, 3, 7, 7, generator=generator)
        self.filters -= self.filters.mean(dim=(2, 3), keepdim=True)
        pictures = torch.cat([photos(1000 + n, style=style) for style in STYLES for n in range(people)]).movedim(-1, 1)
        soft = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2, mode="bicubic").clamp(0, 1)
        x = self._features(soft.movedim(1, -1))
        self.mean, self.spread = x.mean(dim=0), x.std(dim=0) + 1e-3
        x = (x - self.mean) / self.spread
        wanted = torch.eye(len(STYLES)).repeat_interleave(people, 0)
        self.weights = torch.linalg.solve(x.T @ x + 30 * torch.eye(x.shape[1]), x.T @ (wanted - wanted.mean(dim=0)))

    def _features(self, pictures):
        small = F.interpolate(pictures.movedim(-1, 1), size=(self.SIZE, self.SIZE), mode="area")
        seen = F.conv2d(small, self.filters, stride=2)
        return torch.cat([seen.relu().mean(dim=(2, 3)), (-seen).relu().mean(dim=(2, 3)), seen.std(dim=(2, 3))], dim=1)

    def __call__(self, pictures):
        x = (self._features(pictures) - self.mean) / self.spread
        return [STYLES[i] for i in (x @ self.weights).argmax(dim=1).tolist()]

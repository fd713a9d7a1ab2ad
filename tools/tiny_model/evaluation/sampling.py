"""Portraits by the networks as they were trained, many at once: what the engine draws one by one from their files."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ....models.style import load_style, style_files
from ..crops import aligned, channels_first
from ..data import EACH, REALISTIC, Drawings
from ..language import load_tokenizer, token_ids
from ..networks import SIDE
from ..recipe import Trained
from ..stages.faces import as_input
from ..stages.finder import CANVAS, REACH, middles
from ..stages.sampled import GUIDANCE, STEPS, Side, sample
from ..worker import Worker

AT_ONCE = 160  # pictures


@dataclass(frozen=True)
class Job:
    """A picture to draw: of which unseen person, in which style, with which words."""

    person: int
    style: str
    words: str
    seed: int
    weight: float = 1.0
    s_scale: float = 1.0

    def prompts(self) -> tuple[str, str]:
        style = load_style(style_files()[self.style])
        return style.positive(self.words), style.negative_prompt()

    def noise(self) -> Tensor:
        """[4, side, side], as the engine begins."""
        return torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(self.seed))[0]


class NetworkPortraits:
    """What evaluation asks for, of networks in memory."""

    guidance, steps = GUIDANCE, STEPS

    def __init__(self, worker: Worker, trained: Trained, unseen: Drawings):
        self.worker, self.trained = worker, trained
        self.tokenizer = load_tokenizer(Path(trained.tokenizer))
        rows = torch.arange(unseen.ready, device=worker.device) * EACH + REALISTIC  # of the first view
        self.photos = channels_first(unseen.pictures[rows])
        points, found = self.find(self.photos)
        self.identities = F.normalize(self._embed(self.photos, points), dim=-1)
        with torch.no_grad():
            faces = aligned(self.photos, points, 224)
            self.states = trained.vision.states(trained.vision.pixels(faces))
            self.nothing = trained.vision.states(torch.zeros(1, 3, 224, 224, device=worker.device))
        self.gallery = self.identities.cpu()
        worker.say(f"portraits: {int(found.sum())} of {len(rows)} photos have a face")

    @torch.no_grad()
    def find(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The five points [n, 5, 2] of each picture's likeliest face, and whether it is one [n]."""
        small = F.interpolate(pictures, size=CANVAS, mode="bilinear", antialias=True)
        seen = self.trained.finder((small - 127.5) / 128).flatten(2)  # [n, 15, cells]
        logits, best = seen[:, 0].max(dim=1)
        places = seen[:, 1:].gather(2, best[:, None, None].expand(-1, 14, 1))[..., 0].unflatten(1, (7, 2))
        centres = torch.from_numpy(middles()).to(pictures.device)[best]
        return (places * REACH + centres[:, None])[:, 2:] * (pictures.shape[-1] / CANVAS), logits > 0

    @torch.no_grad()
    def _embed(self, pictures: Tensor, points: Tensor) -> Tensor:
        return self.trained.recogniser(as_input(aligned(pictures, points, 112).round()))

    def recognise(self, pictures: Tensor) -> list[Tensor | None]:
        """Of each picture [n, 3, H, W] (0-255) the identity [512], of length 1; None where no face is found."""
        pictures = pictures.to(self.worker.device)
        points, found = self.find(pictures)
        identities = F.normalize(self._embed(pictures, points), dim=-1).cpu()
        return [identity if there else None for identity, there in zip(identities, found.tolist(), strict=True)]

    def draw(self, jobs: list[Job]) -> Tensor:
        """[n, 3, SIDE, SIDE], whole levels 0-255, on the CPU."""
        return torch.cat([self._draw(jobs[i : i + AT_ONCE]).cpu() for i in range(0, len(jobs), AT_ONCE)])

    @torch.no_grad()
    def _draw(self, jobs: list[Job]) -> Tensor:
        device = self.worker.device
        texts = [side for sides in zip(*(job.prompts() for job in jobs), strict=True) for side in sides]
        wanted, unwanted = torch.from_numpy(token_ids(self.tokenizer, texts)).to(device).chunk(2)
        people = torch.tensor([job.person for job in jobs], device=device)
        weight, s_scale = (torch.tensor([getattr(j, k) for j in jobs], device=device) for k in ("weight", "s_scale"))
        identity, states = self.identities[people], self.states[people]
        latents = sample(
            self.trained.diffusion,
            Side(unwanted, torch.zeros_like(identity), self.nothing.expand_as(states)),
            Side(wanted, identity, states),
            s_scale,
            weight,
            torch.stack([job.noise() for job in jobs]).to(device),
            self.guidance,
            self.steps,
        )
        with torch.autocast("cuda", torch.float16, enabled=device.type == "cuda"):
            pictures = self.trained.autoencoder.decode(latents)
        return ((pictures.float() + 1) * 127.5).clamp(0, 255).round()

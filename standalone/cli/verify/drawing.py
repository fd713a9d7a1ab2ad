"""One way, drawn and measured: the demo's rows with the face, and beside the styles what the same words and noise give without.

With and without take turns, so that whatever else the machine does falls on both.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ....contract import STYLES, FaceGenRequest
from ....models.face.analysis import select_faces, to_bgr
from ....models.face.embeds import FaceEmbeds
from ....models.face.likeness import Likeness, likenesses
from ....models.face.quality import PortraitQuality, portrait_quality
from ...demo import S_SCALES, rows
from ...engine import Engine
from ...memory import MemoryMeter
from ...sampling.flux import Flux

QUICK_STYLES, QUICK_S_SCALES = STYLES[:2], S_SCALES[::2]


@dataclass(frozen=True, eq=False)
class Picture:
    """asked: the request; has_face: whether the model was shown the face; image: RGB [H, W, 3] (0-1); quality: the portrait
    check of its largest face, None where there is none; steps: seconds that each took, less the first."""

    asked: FaceGenRequest
    has_face: bool
    image: Tensor
    flagged: bool
    likeness: Likeness
    quality: PortraitQuality | None
    steps: list[float]

    @property
    def step(self) -> float:
        """Seconds, the median."""
        return median(self.steps)

    @property
    def percent(self) -> float | None:
        """Of likeness; None where nothing is to be said."""
        return None if self.flagged else self.likeness.percent

    def as_dict(self) -> dict[str, Any]:
        """As plain values, rounded."""
        judged = None if self.flagged else {name: v for name, v in self.likeness.as_dict().items() if name != "picture"}
        return {
            "style": self.asked.style,
            "s_scale": self.asked.s_scale,
            "with_face": self.has_face,
            "redacted": self.flagged,
            "likeness": judged,
            "portrait_check": self.quality.as_dict() if self.quality and not self.flagged else None,
            "seconds_per_step": {"median": round(self.step, 5), "least": round(min(self.steps), 5)},
        }


@dataclass(frozen=True, eq=False)
class Drawing:
    """What came of a way. styles, plain: the same requests with the face and without; s_scales: empty where the method knows
    none; face: its crop [224, 224, 3] (0-1); loaded: seconds; held, highest: bytes, of the device or else of the process."""

    styles: list[Picture]
    plain: list[Picture]
    s_scales: list[Picture]
    face: Tensor
    adapter: str
    recogniser: str
    precision: str
    loaded: float
    is_device: bool
    held: int | None
    highest: int | None

    @property
    def pictures(self) -> list[Picture]:
        """All, each once."""
        return [*self.styles, *self.plain, *(one for one in self.s_scales if not any(one is other for other in self.styles))]

    @property
    def step(self) -> float:
        """Seconds a step with the face, the median."""
        return median(one.step for one in self.styles)

    @property
    def overheads(self) -> list[float]:
        """What the face adds to a step, as a share of one without, in each pair: of the fastest steps, to which nothing else
        that the machine does has added."""
        return [min(shown.steps) / min(plain.steps) - 1 for shown, plain in zip(self.styles, self.plain, strict=True)]

    @property
    def overhead(self) -> float:
        """The median of them."""
        return median(self.overheads)


def draw(load: Callable[[], Engine], request: FaceGenRequest, photo: Tensor, device: torch.device, quick: bool) -> Drawing:
    """Load the engine, draw and measure, all on that device; nothing of the engine stays. Raises FaceGenError, and whatever
    else goes wrong in the networks."""
    meter = MemoryMeter(device)
    began = time.perf_counter()
    engine = load()
    loaded = time.perf_counter() - began
    held = meter.now()
    face_embeds, crop = engine.embed(photo, request.face_image)
    styles, *more = rows(request, engine.method, *((QUICK_STYLES, QUICK_S_SCALES) if quick else (STYLES, S_SCALES)))
    easel = _Easel(engine, face_embeds, meter)
    for number, asked in enumerate(styles):
        for has_face in (False, True) if number % 2 == 0 else (True, False):
            easel.paint(asked, has_face)
    for asked in (one for row in more for one in row):
        easel.paint(asked, True)
    return Drawing(
        styles=[easel.done[asked, True] for asked in styles],
        plain=[easel.done[asked, False] for asked in styles],
        s_scales=[easel.done[asked, True] for row in more for asked in row],
        face=crop[0],
        adapter=engine.adapter.variant.name,
        recogniser=engine.face_analysis.recogniser,
        precision=_precision(engine),
        loaded=loaded,
        is_device=meter.is_device,
        held=held,
        highest=meter.highest(),
    )


class _Easel:
    """Where pictures of one engine are painted, each once."""

    def __init__(self, engine: Engine, face_embeds: FaceEmbeds, meter: MemoryMeter):
        self.engine, self.face_embeds, self.meter = engine, face_embeds, meter
        self.done: dict[tuple[FaceGenRequest, bool], Picture] = {}

    def paint(self, asked: FaceGenRequest, has_face: bool) -> None:
        if (asked, has_face) in self.done:
            return
        clock = StepClock(self.engine.device, self.meter)
        words = f"{asked.style}, s_scale {asked.s_scale:g}" if has_face else f"{asked.style}, without the face"
        made = self.engine.generate(asked, self.face_embeds if has_face else None, progress=words, watch=clock)
        (likeness,) = likenesses(made.images, self.engine.face_analysis, self.face_embeds)
        quality = _portrait_check(self.engine, made.images[0])
        shown = Picture(asked, has_face, made.images[0], made.flagged[0], likeness, quality, clock.steps)
        self.done[asked, has_face] = shown


class StepClock:
    """The Watch of a sampling: how long its steps take, with all that the device does in them."""

    def __init__(self, device: torch.device, meter: MemoryMeter):
        self._device, self._meter = device, meter
        self._times: list[float] = []

    def __call__(self, _done: int, _of: int) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._meter.now()
        self._times.append(time.perf_counter())

    @property
    def steps(self) -> list[float]:
        """Seconds; the first step, in which much is done once, counts only where there is no other."""
        steps = [after - before for before, after in zip(self._times, self._times[1:], strict=False)]
        return steps[1:] or steps


def _precision(engine: Engine) -> str:
    network = engine.checkpoint.transformer if isinstance(engine.checkpoint, Flux) else engine.checkpoint.unet
    return str(network.dtype).removeprefix("torch.")


def _portrait_check(engine: Engine, picture: Tensor) -> PortraitQuality | None:
    bgr = to_bgr(picture)
    found = engine.face_analysis.detect(bgr)
    chosen = select_faces(found, "largest", *picture.shape[:2]) if found else []
    return portrait_quality(bgr, chosen[0]) if chosen else None

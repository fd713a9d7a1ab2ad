"""Redactions: what is shown in place of an unsafe picture or of the unsafe part of one.

Every action computes its output from the redacted area alone, so that nothing of it survives in sharper form, and every
strength is relative to the area's size, so that a large picture is hidden as well as a small one.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .errors import FaceGenError
from .pictures import require_rgb
from .safety import SafetyResult, is_flagged

WHOLE, FLAGGED = "whole image", "flagged regions"
REGIONS = (WHOLE, FLAGGED)

# Averages kept along an area's longer side; everything finer is gone. With 5 NudeNet still finds some blurred faces.
CELLS = 4
PADDING = 0.1  # of a box's width and height, added on each side
NOTICES = ("Sensitive content", "Sensitive\ncontent")  # the one that fits in larger letters is used
NOTICE_FILL = 0.8  # of the area's width and height that the notice may take
GROUND, INK = 24, 230  # grey levels of the notice, 0-255

Box = tuple[int, int, int, int]


def redact(
    images: Tensor, results: Sequence[SafetyResult], action: str, region: str, threshold: float
) -> tuple[Tensor, Tensor, list[bool]]:
    """Hide what `results` says is unsafe in RGB pictures [B, H, W, 3] (float, 0-1).

    A picture is flagged when its score reaches `threshold` (0-1). `action` is one of ACTIONS, `region` one of REGIONS;
    a flagged picture whose checker gave no usable box is hidden whole.

    Returns new pictures of the same shape and dtype, where those not flagged are bit-identical; a float32 mask
    [B, H, W] that is 1 where pixels were hidden; and whether each picture was flagged.
    Raises FaceGenError on other pictures, an unknown action or region, a threshold outside 0-1, or a missing result.
    """
    _validate(images, results, action, region, threshold)
    height, width = images.shape[1:3]
    out = images.clone()
    mask = torch.zeros(images.shape[:3], device=images.device)
    flagged = [is_flagged(result, threshold) for result in results]
    for index, result in enumerate(results):
        boxes = _boxes(result, region, threshold, height, width) if flagged[index] else ()
        for x0, y0, x1, y1 in boxes:
            out[index, y0:y1, x0:x1] = ACTIONS[action](images[index, y0:y1, x0:x1])
            mask[index, y0:y1, x0:x1] = 1
    return out, mask, flagged


def _validate(images: Tensor, results: Sequence[SafetyResult], action: str, region: str, threshold: float) -> None:
    require_rgb(images, "The safety filter")
    if action not in ACTIONS:
        raise FaceGenError(f"Unknown safety_checker_type {action!r}. Choose one of: {', '.join(ACTIONS)}.")
    if region not in REGIONS:
        raise FaceGenError(f"Unknown region {region!r}. Choose one of: {', '.join(REGIONS)}.")
    if not 0 <= threshold <= 1:  # NaN compares false
        raise FaceGenError(f"The safety threshold must be from 0 to 1; it is {threshold}.")
    if len(results) != len(images):
        raise FaceGenError(f"The safety checker judged {len(results)} of {len(images)} pictures. None was let through.")


def _boxes(result: SafetyResult, region: str, threshold: float, height: int, width: int) -> list[Box]:
    """The areas to hide in a flagged picture, in pixels."""
    whole = [(0, 0, width, height)]
    if region == WHOLE:
        return whole
    boxes = [_pad(d.box, height, width) for d in result.detections if not d.score < threshold]
    usable = all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in boxes)
    return boxes if boxes and usable else whole


def _pad(box: Box, height: int, width: int) -> Box:
    x0, y0, x1, y1 = box
    dx, dy = (max(1, math.ceil(PADDING * side)) for side in (x1 - x0, y1 - y0))
    return max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)


# Actions: an area [h, w, 3] in, what replaces it out (float32 unless stated).


def _black(area: Tensor) -> Tensor:
    return torch.zeros_like(area)


def _pixelate(area: Tensor) -> Tensor:
    return _coarse(area, "nearest")


def _blur(area: Tensor) -> Tensor:
    """A blur made of the few averages that pixelate shows: unlike a Gaussian, it can't be undone by deconvolution."""
    return _coarse(area, "bicubic").clamp(0, 1)  # bicubic overshoots


def _coarse(area: Tensor, interpolation: str) -> Tensor:
    """The area reduced to square cells, CELLS along its longer side, and enlarged again."""
    size = area.shape[:2]
    cell = max(2, math.ceil(max(size) / CELLS))  # a cell of one pixel would hide nothing
    cells = [math.ceil(side / cell) for side in size]
    small = F.adaptive_avg_pool2d(area.float().movedim(-1, 0)[None], cells)
    return F.interpolate(small, size=size, mode=interpolation)[0].movedim(0, -1)


def _notice(area: Tensor) -> Tensor:
    """A notice in light letters on a dark ground; it holds nothing of the picture."""
    height, width = area.shape[:2]
    picture = Image.new("L", (width, height), GROUND)
    size, text = max((_letter_size(text, height, width), text) for text in NOTICES)
    ImageDraw.Draw(picture).text((width / 2, height / 2), text, INK, anchor="mm", **_type(size))
    grey = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
    return grey[..., None].expand(height, width, 3)


def _letter_size(text: str, height: int, width: int) -> float:
    """The largest font size, at least 1 pixel, at which `text` fits."""
    probe = 100.0
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), text, **_type(probe))
    return max(1.0, probe * NOTICE_FILL * min(width / (right - left), height / (bottom - top)))


def _type(size: float) -> dict:
    return {"font": ImageFont.load_default(size), "spacing": size / 4, "align": "center"}


ACTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "black": _black,
    "blur": _blur,
    "pixelate": _pixelate,
    "sensitive_content_text": _notice,
}

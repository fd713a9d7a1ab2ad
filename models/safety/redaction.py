"""Redactions: what is shown in place of an unsafe picture or of the unsafe part of one.

Every redaction computes its output from the redacted area alone, so that nothing of it survives in sharper form, and every
strength is relative to the area's size, so that a large picture is hidden as well as a small one.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...contract import BLACK, BLUR, NOTICE_TEXT, PIXELATE
from ...errors import FaceGenError, NoVerdictError
from ..pictures import require_rgb
from .checking import SafetyResult, is_flagged
from .notice import NOTICE, notice_picture, require_notice

WHOLE, FLAGGED = "whole image", "flagged regions"
REGIONS = (WHOLE, FLAGGED)

# Averages kept along an area's longer side; everything finer is gone. With 5 NudeNet still finds some blurred faces.
CELLS = 4
PADDING = 0.1  # of a box's width and height, added on each side

Box = tuple[int, int, int, int]


def redact(
    images: Tensor,
    results: Sequence[SafetyResult],
    safety_checker_type: str,
    region: str,
    threshold: float,
    notice: str = NOTICE,
) -> tuple[Tensor, Tensor, list[bool]]:
    """Hide what `results` says is unsafe in RGB pictures [B, H, W, 3] (float, 0-1).

    A picture is flagged when its score reaches `threshold` (0-1). `safety_checker_type` is one of REDACTIONS, `region`
    one of REGIONS; a flagged picture whose checker gave no usable box is hidden whole. `notice` is what
    sensitive_content_text says.

    Returns new pictures of the same shape and dtype, where those not flagged are bit-identical; a float32 mask
    [B, H, W] that is 1 where pixels were hidden; and whether each picture was flagged.
    Raises BadPicturesError on other pictures, NoVerdictError on a missing result, FaceGenError as validate() does.
    """
    require_rgb(images)
    validate(safety_checker_type, region, threshold, notice)
    if len(results) != len(images):
        raise NoVerdictError(f"The safety checker judged {len(results)} of {len(images)} pictures. None was let through.")
    out = images.clone()
    mask = torch.zeros(images.shape[:3], device=images.device)
    flagged = [is_flagged(result, threshold) for result in results]
    for picture, hidden, hidden_mask, result, unsafe in zip(images, out, mask, results, flagged, strict=True):
        if unsafe:
            hide(picture, hidden, hidden_mask, result, safety_checker_type, region, threshold, notice)
    return out, mask, flagged


def hide(
    picture: Tensor,
    out: Tensor,
    mask: Tensor,
    result: SafetyResult,
    safety_checker_type: str,
    region: str,
    threshold: float,
    notice: str,
) -> None:
    """In `out` [H, W, 3] and `mask` [H, W], hide what `result` says is unsafe in an RGB picture [H, W, 3]; see redact."""
    for x0, y0, x1, y1 in _boxes(result, region, threshold, *picture.shape[:2]):
        out[y0:y1, x0:x1] = REDACTIONS[safety_checker_type](picture[y0:y1, x0:x1], notice)
        mask[y0:y1, x0:x1] = 1


def validate(safety_checker_type: str, region: str, threshold: float, notice: str = NOTICE) -> None:
    """Raises FaceGenError on an unknown safety_checker_type or region, a threshold outside 0-1, or a notice that can't be
    drawn."""
    if safety_checker_type not in REDACTIONS:
        raise FaceGenError(f"Unknown safety_checker_type {safety_checker_type!r}. Choose one of: {', '.join(REDACTIONS)}.")
    if region not in REGIONS:
        raise FaceGenError(f"Unknown region {region!r}. Choose one of: {', '.join(REGIONS)}.")
    if not 0 <= threshold <= 1:  # NaN compares false
        raise FaceGenError(f"The safety threshold must be from 0 to 1; it is {threshold}.")
    require_notice(notice)


def _boxes(result: SafetyResult, region: str, threshold: float, height: int, width: int) -> list[Box]:
    """The areas to hide in a flagged picture, in pixels."""
    whole = [(0, 0, width, height)]
    if region == WHOLE:
        return whole
    boxes = [_pad(d.box, height, width) for d in result.detections if not d.score < threshold]
    usable = all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in boxes)
    return merged(boxes) if boxes and usable else whole


def merged(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that overlap as one around them, until none do. Hidden twice, on two grids, an area would show more of itself."""
    apart: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        while touching := [b for b in apart if b[0] < x1 and x0 < b[2] and b[1] < y1 and y0 < b[3]]:
            apart = [b for b in apart if b not in touching]
            starts, ends = [b[:2] for b in touching], [b[2:] for b in touching]
            x0, y0 = (min(v) for v in zip((x0, y0), *starts, strict=True))
            x1, y1 = (max(v) for v in zip((x1, y1), *ends, strict=True))
        apart.append((x0, y0, x1, y1))
    return apart


def _pad(box: Box, height: int, width: int) -> Box:
    x0, y0, x1, y1 = box
    dx, dy = (max(1, math.ceil(PADDING * side)) for side in (x1 - x0, y1 - y0))
    return max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)


# Redactions: an area [h, w, 3] and the notice's text in, what replaces the area out (float32 unless stated).


def _black(area: Tensor, _notice: str) -> Tensor:
    return torch.zeros_like(area)


def _pixelate(area: Tensor, _notice: str) -> Tensor:
    return _coarse(area, "nearest")


def _blur(area: Tensor, _notice: str) -> Tensor:
    """A blur made of the few averages that pixelate shows: unlike a Gaussian, it can't be undone by deconvolution."""
    return _coarse(area, "bicubic").clamp_(0, 1)  # bicubic overshoots


def _coarse(area: Tensor, interpolation: str) -> Tensor:
    """The area reduced to square cells, CELLS along its longer side, and enlarged again."""
    size = (area.shape[0], area.shape[1])
    cell = max(2, math.ceil(max(size) / CELLS))  # a cell of one pixel would hide nothing
    cells = (math.ceil(size[0] / cell), math.ceil(size[1] / cell))
    small = F.adaptive_avg_pool2d(area.float().movedim(-1, 0)[None], cells)
    return F.interpolate(small, size=size, mode=interpolation)[0].movedim(0, -1)


def _text(area: Tensor, notice: str) -> Tensor:
    """A notice; it holds nothing of the picture."""
    return notice_picture(area.shape[0], area.shape[1], notice).to(area.device)


REDACTIONS: dict[str, Callable[[Tensor, str], Tensor]] = {
    BLACK: _black,
    BLUR: _blur,
    PIXELATE: _pixelate,
    NOTICE_TEXT: _text,
}

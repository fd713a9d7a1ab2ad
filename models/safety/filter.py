"""The safety filter as nodes, command line and server use it: check, hide, and check what was hidden."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...contract import BLACK, FIELDS
from ...errors import BadPicturesError
from ..pictures import Watch, require_rgb, unwatched
from .checking import DEFAULT_THRESHOLD, SafetyChecker, is_flagged, judge, report
from .notice import NOTICE
from .redaction import WHOLE, hide, redact, validate

FARTHEST = 1.0  # beyond 0 and 1: what is further is no overshoot of a resizing, but another scale
DEFAULT_TYPE: str = FIELDS["safety_checker_type"].default


@dataclass(frozen=True)
class Filtered:
    """images: new pictures [B, H, W, 3], unsafe ones redacted, the others bit-identical, or within 0-1 where they were outside;
    mask: float32 [B, H, W], 1 where pixels were hidden; flagged: of each picture; report: plain JSON values."""

    images: Tensor
    mask: Tensor
    flagged: list[bool]
    report: dict[str, Any]


def filter_images(
    images: Tensor,
    checker: SafetyChecker,
    safety_checker_type: str = DEFAULT_TYPE,
    region: str = WHOLE,
    threshold: float = DEFAULT_THRESHOLD,
    notice: str = NOTICE,
    watch: Watch = unwatched,
) -> Filtered:
    """Check RGB pictures [B, H, W, 3] (float, 0-1) and hide what is unsafe; see redaction.redact for the choices.

    The checker then looks at what was hidden. If it still flags a picture, the whole of it is redacted, and after that
    the picture is made black.
    What is outside 0-1 is brought into it first, as every checker sees it and every picture file shows it, so that nothing is
    delivered that wasn't judged.
    Raises BadPicturesError on other pictures, FaceGenError on other choices; what the checker raises is passed on.
    """
    require_rgb(images)
    validate(safety_checker_type, region, threshold, notice)
    images = _as_judged(images)
    results = judge(checker, images, watch)
    out, mask, flagged = redact(images, results, safety_checker_type, region, threshold, notice)
    found = report(results, threshold, checker.name)
    shown = {index: (safety_checker_type, region) for index, unsafe in enumerate(flagged) if unsafe}
    suspects, done = list(shown), (safety_checker_type, region)
    for harder in ((safety_checker_type, WHOLE), (BLACK, WHOLE)):
        # In black there is nothing left to see; and threshold 0 flags everything, whatever it shows.
        if not suspects or harder == done or done == (BLACK, WHOLE) or threshold == 0:
            continue
        again = judge(checker, out[suspects], lambda _done, _of: watch(len(images), len(images)))
        suspects = [index for index, result in zip(suspects, again, strict=True) if is_flagged(result, threshold)]
        for index in suspects:
            hide(images[index], out[index], mask[index], results[index], *harder, threshold, notice)
        shown |= dict.fromkeys(suspects, harder)
        done = harder
    for index, (what, where) in shown.items():
        found["pictures"][index] |= {"shown": what, "region": where}
    return Filtered(out, mask, flagged, found)


def _as_judged(images: Tensor) -> Tensor:
    """The pictures within 0-1; those that are lie untouched."""
    low, high = (float(end) for end in torch.aminmax(images))
    if low < -FARTHEST or high > 1 + FARTHEST:
        raise BadPicturesError(
            f"The pictures hold values from {low:g} to {high:g}, and 0 to 1 is needed: divide 8-bit values by 255."
        )
    return images if low >= 0 and high <= 1 else images.clamp(0, 1)

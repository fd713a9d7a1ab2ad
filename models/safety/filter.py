"""The safety filter as nodes, command line and server use it: check, hide, and check what was hidden."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...contract import BLACK, FIELDS
from ..pictures import require_rgb
from .checking import DEFAULT_THRESHOLD, SafetyChecker, is_flagged, judge, report
from .notice import NOTICE
from .redaction import WHOLE, redact, validate

DEFAULT_TYPE: str = FIELDS["safety_checker_type"].default


@dataclass(frozen=True)
class Filtered:
    """images: new pictures [B, H, W, 3], unsafe ones redacted, the others bit-identical; mask: float32 [B, H, W], 1 where
    pixels were hidden; flagged: of each picture; report: plain JSON values."""

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
) -> Filtered:
    """Check RGB pictures [B, H, W, 3] (float, 0-1) and hide what is unsafe; see redaction.redact for the choices.

    The checker then looks at what was hidden. If it still flags a picture, the whole of it is redacted, and after that
    the picture is made black.
    Raises BadPicturesError on other pictures, FaceGenError on other choices; what the checker raises is passed on.
    """
    require_rgb(images)
    validate(safety_checker_type, region, threshold, notice)
    results = judge(checker, images)
    out, mask, flagged = redact(images, results, safety_checker_type, region, threshold, notice)
    found = report(results, threshold, checker.name)
    shown = {index: (safety_checker_type, region) for index, unsafe in enumerate(flagged) if unsafe}
    suspects, done = list(shown), (safety_checker_type, region)
    for harder in ((safety_checker_type, WHOLE), (BLACK, WHOLE)):
        # In black there is nothing left to see; and threshold 0 flags everything, whatever it shows.
        if not suspects or harder == done or done == (BLACK, WHOLE) or threshold == 0:
            continue
        again = judge(checker, out[suspects])
        suspects = [index for index, result in zip(suspects, again, strict=True) if is_flagged(result, threshold)]
        if suspects:
            unsafe = [results[index] for index in suspects]
            out[suspects], mask[suspects], _ = redact(images[suspects], unsafe, *harder, threshold, notice)
        shown |= dict.fromkeys(suspects, harder)
        done = harder
    for index, (what, where) in shown.items():
        found["pictures"][index] |= {"shown": what, "region": where}
    return Filtered(out, mask, flagged, found)

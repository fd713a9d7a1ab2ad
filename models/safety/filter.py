"""The safety filter as nodes, command line and server use it: check, hide, and check what was hidden."""

from dataclasses import dataclass

from torch import Tensor

from ..pictures import require_rgb
from .checking import DEFAULT_THRESHOLD, SafetyChecker, is_flagged, judge, report
from .notice import NOTICE
from .redaction import WHOLE, redact, validate

BLACK = "black"


@dataclass(frozen=True)
class Filtered:
    """images: new pictures [B, H, W, 3], unsafe ones redacted, the others bit-identical; mask: float32 [B, H, W], 1 where
    pixels were hidden; flagged: of each picture; report: plain JSON values."""

    images: Tensor
    mask: Tensor
    flagged: list[bool]
    report: dict


def filter_images(
    images: Tensor,
    checker: SafetyChecker,
    action: str = BLACK,
    region: str = WHOLE,
    threshold: float = DEFAULT_THRESHOLD,
    notice: str = NOTICE,
    who: str = "The safety filter",
) -> Filtered:
    """Check RGB pictures [B, H, W, 3] (float, 0-1) and hide what is unsafe; see redaction.redact for the choices.

    The checker then looks at what was hidden. If it still flags a picture, the action is applied to the whole of it, and
    after that the picture is made black. `who` is what messages call the filter.
    Raises FaceGenError on other pictures or choices; what the checker raises is passed on.
    """
    require_rgb(images, who)
    validate(action, region, threshold, notice)
    results = judge(checker, images)
    out, mask, flagged = redact(images, results, action, region, threshold, notice)
    found = report(results, threshold, checker.name)
    shown = {index: (action, region) for index, unsafe in enumerate(flagged) if unsafe}
    suspects, done = list(shown), (action, region)
    for harder in ((action, WHOLE), (BLACK, WHOLE)):
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

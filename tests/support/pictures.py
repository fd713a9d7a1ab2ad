"""Pictures and verdicts that several tests use."""

import torch.nn.functional as F

from facegen.models.safety.checking import Detection, SafetyResult

SAFE = SafetyResult(0.0)
UNSAFE = SafetyResult(0.9)


def resize(images, height, width):
    small = F.interpolate(images.movedim(-1, 1), size=(height, width), mode="bicubic", antialias=True)
    return small.movedim(1, -1).clamp(0, 1)


def boxed(*boxes, score=0.9):
    return SafetyResult(score, [Detection("PART", score, box) for box in boxes])


class StubChecker:
    """Gives the results that it was made with, in turn, or raises its error; counts what it was asked."""

    name = "stub"

    def __init__(self, *results, error=None):
        self.results, self.error, self.asked = list(results), error, []

    def check(self, images):
        self.asked.append(images.clone())
        if self.error:
            raise self.error
        return [self.results.pop(0) for _ in images if self.results]


class DetailChecker:
    """Flags pictures with detail: neighbouring pixels that differ by more than `step`. A redaction has none."""

    name = "detail"

    def __init__(self, step=0.1):
        self.step = step

    def check(self, images):
        steps = [(images.float().diff(dim=d).abs() > self.step).float().mean(dim=(1, 2, 3)) for d in (1, 2)]
        return [SafetyResult(min(1.0, 10 * float(s)), (), {"detail": min(1.0, float(s))}) for s in sum(steps)]


# As an iPhone begins a photo: the kind of file, then boxes, of which nothing here is a picture.
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + b"\0\0\0\x0cmeta\0\0\0\0" + b"\0\0\0\x10mdat" + bytes(8)

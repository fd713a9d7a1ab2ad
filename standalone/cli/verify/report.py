"""What was found out, as JSON and as Markdown for an issue; file names, but no folders."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from ....contract import FaceGenRequest
from ....models.checkpoint_kind import SDXL
from ...portraits import in_few_words
from .checking import CheckedFile
from .drawing import Drawing, Picture
from .ways import Way

RAN, FAILED, LACKS, NOT_REACHED = "ran", "failed", "lacks files", "not reached"
NONE = "-"


@dataclass
class Outcome:
    """What became of a way. words: why it didn't run; files: kind -> the name of what it was tried with."""

    way: Way
    state: str
    words: str = ""
    files: dict[str, str] = field(default_factory=dict)
    drawing: Drawing | None = None

    @property
    def made_with(self) -> str:
        """The files' names, each once."""
        return ", ".join(dict.fromkeys(self.files.values()))


@dataclass
class Report:
    """photo: what it shows, in words; request: what was asked everywhere, but for style, s_scale and guidance."""

    machine: dict[str, Any]
    photo: str
    request: FaceGenRequest
    outcomes: list[Outcome]
    files: list[CheckedFile] = field(default_factory=list)

    def of(self, *states: str) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.state in states]

    @property
    def drawn(self) -> list[tuple[Outcome, Drawing]]:
        """Those of which there are pictures."""
        return [(outcome, outcome.drawing) for outcome in self.outcomes if outcome.drawing]

    @property
    def settings(self) -> str:
        """In words."""
        asked = self.request
        size = f"{asked.width}x{asked.height} pixels"
        if any(outcome.way.base == SDXL for outcome, _ in self.drawn):
            size += f" ({SDXL} is sampled at twice that)"
        return f"“{asked.prompt}”, seed {asked.seed}, {asked.num_inference_steps} steps, {size}"

    def as_dict(self) -> dict[str, Any]:
        """As plain values, rounded."""
        asked = self.request
        names = ("prompt", "seed", "num_inference_steps", "width", "height")
        return {
            "machine": self.machine,
            "photo": self.photo,
            "asked": {name: getattr(asked, name) for name in names},
            "files": [file.as_dict() for file in self.files],
            "methods": [_as_dict(outcome) for outcome in self.outcomes],
        }

    def markdown(self) -> str:
        """For people."""
        parts = ["### ComfyUI-FaceGen: verify", table(("machine", ""), list(self.machine.items()))]
        parts.append(f"Photo: {self.photo}. Asked for: {self.settings}.")
        if self.drawn:
            parts += [table(HEAD, [figures(outcome, drawing) for outcome, drawing in self.drawn]), self._likenesses()]
        parts += [f"- **{outcome.way.words}**: {outcome.state}. {outcome.words}".rstrip() for outcome in self.of(FAILED)]
        unseen = [f"- {outcome.way.words}: {outcome.words or outcome.state}" for outcome in self.of(LACKS, NOT_REACHED)]
        if unseen:
            parts.append("\n".join(unseen))
        if self.files:
            rows = [(file.name, file.what, f"{file.size / 1e6:.0f}", file.check) for file in self.files]
            parts.append(table(("file", "recognised as", "MB", "checked"), rows))
        return "\n\n".join(parts) + "\n"

    def _likenesses(self) -> str:
        """Of each picture, by style and s_scale."""
        drawings = [drawing for _, drawing in self.drawn]
        styles = [one.asked.style for one in drawings[0].styles]
        scales = max(([f"{one.asked.s_scale:g}" for one in drawing.s_scales] for drawing in drawings), key=len)
        rows = []
        for outcome, drawing in self.drawn:
            by_scale = [alike(one) for one in drawing.s_scales] or [NONE] * len(scales)
            rows.append((outcome.way.words, *map(alike, drawing.styles), *by_scale))
            rows.append(("without the face", *map(alike, drawing.plain), *[NONE] * len(scales)))
        return table(("likeness", *styles, *(f"s_scale {scale}" for scale in scales)), rows)


def in_short(outcome: Outcome) -> str:
    """For the terminal."""
    drawing = outcome.drawing
    if drawing is None:
        return outcome.words or outcome.state
    alike = f"likeness {spread(drawing.styles)}, without the face {spread(drawing.plain)}"
    return f"{alike}; {costs(drawing)}; portrait check: {portrait_check(drawing.styles)}"


def costs(drawing: Drawing) -> str:
    """Time and memory, in words."""
    return f"{drawing.step:.3g} s a step, to which the face adds {overhead(drawing)}; memory at most {memory(drawing)}"


def overhead(drawing: Drawing) -> str:
    """The median and, of several pairs, from which to which."""
    median, *all_of_them = (
        f"{100 * share:.1f}" for share in (drawing.overhead, min(drawing.overheads), max(drawing.overheads))
    )
    return f"{median} %" + (f" ({' to '.join(all_of_them)})" if len(drawing.overheads) > 1 else "")


HEAD = (
    "method",
    "likeness",
    "without the face",
    "seconds a step",
    "the face adds",
    "memory at most",
    "portrait check",
    "loaded in",
    "made with",
)


def figures(outcome: Outcome, drawing: Drawing) -> tuple[str, ...]:
    """A row of HEAD."""
    return (
        outcome.way.words,
        spread(drawing.styles),
        spread(drawing.plain),
        f"{drawing.step:.3g}",
        overhead(drawing),
        memory(drawing),
        portrait_check(drawing.styles),
        f"{drawing.loaded:.1f} s",
        f"{outcome.made_with}; {drawing.precision}",
    )


def spread(pictures: Sequence[Picture]) -> str:
    """Their likeness: the mean and, where there is more than one, from which to which."""
    known = [one.percent for one in pictures if one.percent is not None]
    if not known:
        return "not measured"
    text = f"{mean(known):.0f} %" + (f" ({min(known):.0f} to {max(known):.0f})" if len(known) > 1 else "")
    return text if len(known) == len(pictures) else f"{text}, {len(known)} of {len(pictures)} measured"


def alike(picture: Picture) -> str:
    """The likeness of one, in few words."""
    return "redacted" if picture.flagged else in_few_words(picture.likeness, by=False)


def failing(picture: Picture) -> list[str]:
    """The names of the checks that it fails; a picture that is too dark fails "exposure"."""
    return [check.name for check in picture.quality.checks if not check.passed] if picture.quality else []


def portrait_check(pictures: Sequence[Picture]) -> str:
    """How many pass, and how often which mark is missed: "4 of 5 pass; missed: turn 1"; of those that aren't redacted."""
    pictures = [one for one in pictures if not one.flagged]
    passed = sum(one.quality is not None and not failing(one) for one in pictures)
    counted = Counter(name for one in pictures for name in failing(one))
    nobody = sum(one.quality is None for one in pictures)
    fails = [f"{name} {number}" for name, number in counted.items()] + ([f"no face {nobody}"] if nobody else [])
    return f"{passed} of {len(pictures)} pass" + (f"; missed: {', '.join(fails)}" if fails else "")


def memory(drawing: Drawing) -> str:
    """In words."""
    if drawing.highest is None:
        return "not measured"
    return f"{drawing.highest / 2**30:.1f} GiB" + (" on the device" if drawing.is_device else ", all of the process")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    way = outcome.way
    told: dict[str, Any] = {"name": way.words, "method": way.method, "base": way.base, "state": outcome.state}
    if outcome.words:
        told["words"] = outcome.words
    drawing = outcome.drawing
    if drawing is None:
        return told
    return told | {
        "files": outcome.files,
        "adapter": drawing.adapter,
        "recogniser": drawing.recogniser,
        "guidance_scale": drawing.styles[0].asked.guidance_scale,
        "precision": drawing.precision,
        "seconds_to_load": round(drawing.loaded, 2),
        "seconds_per_step": round(drawing.step, 5),
        "overhead": {"median": round(drawing.overhead, 4), "of_pairs": [round(share, 4) for share in drawing.overheads]},
        "memory": {"of": "device" if drawing.is_device else "process", "held": drawing.held, "highest": drawing.highest},
        "pictures": [picture.as_dict() for picture in drawing.pictures],
    }

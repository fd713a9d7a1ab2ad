"""One way after the other is loaded, drawn, measured and let go of; what fails is told, and the others still run."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ....atomic_write import USUAL, atomic_write
from ....contract import FaceGenRequest
from ....errors import FaceGenError
from ...engine import Engine
from ...memory import is_out_of_memory, make_room
from ...model_files import ModelFiles
from ...photos import save_png
from ..common import say
from ..generate import load_engine, usual_settings
from .checking import Checker
from .drawing import draw
from .finding import Finding
from .machine import without_paths
from .report import FAILED, LACKS, NOT_REACHED, RAN, Outcome, Report
from .sheet import contact_sheet

FILES = SHEET, MARKDOWN, JSON = "verify.png", "verify.md", "verify.json"


@dataclass
class Trial:
    """photo: RGB [1, H, W, 3] (0-1); out: where the report is written, after each way, so that a stop leaves what there is by
    then."""

    report: Report
    photo: Tensor
    models: Path
    device: torch.device
    quick: bool
    out: Path
    checker: Checker = field(default_factory=Checker)

    def run(self, finding: Finding, outcome: Outcome) -> None:
        """Raises FaceGenError when the report can't be written."""
        if finding.files is not None:
            say(f"{outcome.way.words}: {outcome.made_with}")
            for note in finding.taken:
                say(f"  takes {note}")
            outcome.words = without_paths(self._tried(finding.files, outcome), self.models, self.out)
            make_room()
        if outcome.state == FAILED:
            say(f"{outcome.way.words} failed: {outcome.words}")
        self.report.files = list(self.checker.checked.values())
        self._write()

    def _tried(self, files: ModelFiles, outcome: Outcome) -> str:
        """What went wrong, in words."""
        asked = replace(self.report.request, **usual_settings(files))
        outcome.state = FAILED
        try:
            self.checker.check(files)
            outcome.drawing = draw(lambda: self._load(files), asked, self.photo, self.device, self.quick)
        except FaceGenError as error:
            return str(error)
        except Exception as error:  # one way must not take the others along
            return _in_words(error, asked)
        outcome.state = RAN
        return ""

    def _load(self, files: ModelFiles) -> Engine:
        say("  loading the models; with large files this can take some minutes")
        return load_engine(files, True, self.device)

    def _write(self) -> None:
        save_png(contact_sheet(self.report, self.photo), self.out / SHEET, {"figures": JSON})
        text = json.dumps(self.report.as_dict(), ensure_ascii=False, indent=1)
        for name, content in ((MARKDOWN, self.report.markdown()), (JSON, f"{text}\n")):
            try:
                atomic_write(self.out / name, content.encode(), USUAL)
            except OSError as error:
                raise FaceGenError(f"{self.out / name} can't be written: {error}") from error


def outcome_of(finding: Finding, models: Path) -> Outcome:
    """Before anything was tried."""
    if finding.files is not None:
        files = {kind: path.name for kind, path in vars(finding.files).items() if path is not None}
        return Outcome(finding.way, NOT_REACHED, files=files)
    state = FAILED if finding.broken else LACKS
    return Outcome(finding.way, state, without_paths(finding.broken or finding.lacks, models))


def _in_words(error: Exception, asked: FaceGenRequest) -> str:
    if is_out_of_memory(error):
        size = f"{asked.width}x{asked.height} pixels"
        return f"There was not enough memory for a picture of {size} ({str(error).splitlines()[0]})."
    return f"{type(error).__name__}: {error}"

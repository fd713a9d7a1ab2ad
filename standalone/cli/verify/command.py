"""`verify`: tries every method whose model files are here on one photo, and leaves a report of it. Nothing is sent."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ....contract import FIELDS, FaceGenRequest
from ....errors import FaceGenError, TinyFilesError, advise
from ....models.tiny_files import DRAWN_FACE, require_tiny_files
from ..comfyui import comfyui_models
from ..common import fetch_command, libraries, say
from ..doctor import table
from ..doctor_rows.files import BROKEN, MISSING, OK, Row
from ..generate import (
    CURES,
    DEMO,
    TINY,
    TINY_DEFAULTS,
    TINY_METHOD,
    TINY_NOTICE,
    demo_photo,
    use_one_thread,
)
from .ways import FACEID_SD15, WAYS

if TYPE_CHECKING:
    import torch

    from .finding import Finding
    from .report import Report

PHOTO = "NASA's portrait of Eileen Collins, which is in the public domain"
DRAWING = "the drawn face that comes with the built-in tiny model, which knows drawings alone"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `verify` to the commands; it sets `run`."""
    parser = commands.add_parser(
        "verify",
        help="try every method whose model files are here, and write a report with one picture",
        description="Checks the model files, draws a public-domain portrait by every method whose files are here, in all "
        "styles and at several values of s_scale, and measures likeness, time and memory. Leaves one contact sheet, and the "
        "figures as JSON and Markdown, with no folder's, user's or machine's name in them. Nothing is sent.",
    )
    parser.add_argument(
        "--models",
        default=None,
        help="Folder with the model files, laid out like ComfyUI's models folder, or 'tiny'. Default: that of the ComfyUI that "
        "has this pack in its custom_nodes; without one, the tiny model that comes with the pack.",
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("out"), metavar="DIR", help="Folder for the report. Default: out."
    )
    parser.add_argument(
        "--methods", nargs="+", choices=tuple(WAYS), metavar="NAME", help=f"Of {', '.join(WAYS)}. Default: all."
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        metavar="NAME",
        help="Which checkpoints of the models folder to use, one for each base. Default: the ones of the templates, else the "
        "first by name.",
    )
    for option, name in (("--steps", "num_inference_steps"), ("--size", "width")):
        rule = FIELDS[name]
        limits = f"{rule.minimum:g} to {rule.maximum:g}. Default: {rule.default}; with the tiny model {TINY_DEFAULTS[name]}."
        what = "Denoising steps" if option == "--steps" else "Width and height in pixels; SDXL is sampled at twice that"
        parser.add_argument(option, type=int, help=f"{what}. {limits}")
    parser.add_argument("--quick", action="store_true", help="Two styles and three values of s_scale.")
    parser.add_argument("--device", help="cpu, cuda, or one of several as cuda:1. Default: cuda where there is one.")
    parser.set_defaults(run=run)


@advise("", {TinyFilesError: CURES[TinyFilesError]})
def run(options: argparse.Namespace) -> None:
    """Raises FaceGenError for what the user can fix before anything is tried, and SystemExit(1) when a method that has its
    files failed, or one that was asked for by name lacks some."""
    tiny, models = models_of(options)
    request = request_of(options, tiny)
    with libraries():
        from ...photos import prepare_folder, read_photo
        from .finding import choose_checkpoints, find
        from .machine import machine
        from .report import FAILED, LACKS, Report
        from .trial import FILES, Trial, outcome_of

    device = device_of(options.device)
    photo = read_photo(models / DRAWN_FACE if tiny else demo_photo())
    names = [FACEID_SD15] if tiny else dict.fromkeys(options.methods or WAYS)
    chosen = choose_checkpoints(models, options.checkpoint)
    findings = [find(WAYS[name], models, chosen) for name in names]
    report = Report(machine(device), DRAWING if tiny else PHOTO, request, [outcome_of(found, models) for found in findings])
    if not any(found.files or found.broken for found in findings):
        print(table(rows(report, findings, models)))
        raise FaceGenError(f"{models} has the files of no method, so there is nothing to verify. Get those of one, as above.")
    prepare_folder(options.out)
    trial = Trial(report, photo, models, device, options.quick, options.out.absolute())
    for found, outcome in zip(findings, report.outcomes, strict=True):
        trial.run(found, outcome)
    print(table(rows(report, findings, models)))
    say(f"The report is in {options.out.resolve()}: {', '.join(FILES)}. Nothing was sent.")
    if report.of(FAILED) or (options.methods and report.of(LACKS)):
        raise SystemExit(1)


def models_of(options: argparse.Namespace) -> tuple[bool, Path]:
    """Whether it is the tiny model, and the folder, from the root. Raises FaceGenError."""
    found = comfyui_models() if options.models is None else None
    folder = options.models or (str(found) if found and found.is_dir() else TINY)
    if folder != TINY:
        if not Path(folder).is_dir():
            raise FaceGenError(f"{folder} is no folder. Give ComfyUI's models folder with --models DIR.")
        say(f"models from {folder}")
        return False, Path(folder).absolute()
    if options.methods not in (None, [FACEID_SD15]):
        raise FaceGenError(TINY_METHOD)
    say(TINY_NOTICE)
    use_one_thread()
    return True, require_tiny_files()


def request_of(options: argparse.Namespace, tiny: bool) -> FaceGenRequest:
    """What is asked of every method. Raises ContractError."""
    sizes = {"width": options.size, "height": options.size, "num_inference_steps": options.steps}
    given = {name: value for name, value in sizes.items() if value is not None}
    return FaceGenRequest(face_image=DRAWN_FACE if tiny else "photo", **{**DEMO, **(TINY_DEFAULTS if tiny else {}), **given})


def device_of(name: str | None) -> "torch.device":
    """Raises FaceGenError for one that isn't here."""
    with libraries():
        import torch

        from ...memory import usual_device
    if name is None:
        return usual_device()
    here = ["cpu", "cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name not in (here if torch.cuda.is_available() else here[:1]):
        raise FaceGenError(f"There is no device {name!r} here. Give another one with --device, or leave it out.")
    return torch.device(name)


def rows(report: "Report", findings: "list[Finding]", models: Path) -> list[Row]:
    """The report for the terminal, with the command that fetches what a method lacks."""
    from .report import FAILED, RAN, in_short

    told = []
    for outcome, found in zip(report.outcomes, findings, strict=True):
        state = {RAN: OK, FAILED: BROKEN}.get(outcome.state, MISSING)
        cure = f"Run: {fetch_command(found.fetch, models)}" if state == MISSING and found.fetch else ""
        told.append(Row(state, outcome.way.words, in_short(outcome), cure))
    return told

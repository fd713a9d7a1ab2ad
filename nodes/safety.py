"""Nodes that check pictures and hide what is unsafe."""

import importlib.util
import json
from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..errors import BrokenCheckerError, Cures, MissingLibraryError, UnsafeLabelsError, advise
from ..models import onnx_providers
from ..models.safety import checking, load, redaction
from ..models.safety.filter import filter_images
from ..models.safety.notice import NOTICE
from .host import combos, reports, types
from .host.cures import CHECKER, NUDENET, PICTURES
from .host.networks.memory import place
from .host.schema import ADVANCED, newer
from .host.widgets import widget

MODEL_FOLDER = "safety_checker"
WANTED = f"{load.NUDENET} -> pip install -U nudenet with ComfyUI's own Python, then restart"

LOADING: Cures = {
    **NUDENET,
    UnsafeLabelsError: "Write the labels that are unsafe into unsafe_labels, separated by commas.",
    BrokenCheckerError: "Put all its files there again, as they were published.",
    MissingLibraryError: "Install it into ComfyUI's own Python with pip, then restart.",
}


def _checkers() -> list[str]:
    """NudeNet, whose package holds its model, if it is installed, and what lies in models/safety_checker."""
    found = load.find_checkers(folder_paths.get_folder_paths(MODEL_FOLDER))
    nudenet = [load.NUDENET] if importlib.util.find_spec("nudenet") else []
    return [*nudenet, *(name for name in found if name != load.NUDENET)]


def _missing(name: str) -> str:
    where = "ComfyUI's Python and " + ", ".join(folder_paths.get_folder_paths(MODEL_FOLDER))
    get = "For nudenet, run `pip install -U nudenet` with ComfyUI's own Python and restart; other checkers go into that folder."
    return combos.not_here("Load Safety Checker", name, _checkers(), where, get)


class FaceGenLoadSafetyChecker(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        checkers = combos.options(_checkers(), WANTED)
        return io.Schema(
            node_id="FaceGenLoadSafetyChecker",
            display_name="Load Safety Checker (FaceGen)",
            category="FaceGen/safety",
            description="Loads a safety checker for the Safety Filter node: NudeNet, Stable Diffusion's safety checker or an "
            "image classifier.",
            inputs=[
                io.Combo.Input(
                    "checker",
                    options=checkers,
                    default=checkers[0],
                    tooltip="nudenet finds exposed body parts and where they are; its Python package holds its model. The "
                    "others are in models/safety_checker.",
                ),
                io.Combo.Input(
                    "provider",
                    options=onnx_providers.available(),
                    default="auto",
                    tooltip="What nudenet runs on. auto is the GPU if the installed ONNX Runtime can use it. Other "
                    "checkers run where ComfyUI runs its models.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "preset",
                    options=list(checking.PRESETS),
                    default=checking.PRESETS[0],
                    optional=True,
                    tooltip="The checker's own limits: strict hides more, lenient less. The help page has the table.",
                ),
                io.String.Input(
                    "unsafe_labels",
                    default="",
                    optional=True,
                    tooltip="For image classifiers: the labels that make a picture unsafe, separated by commas. If empty, "
                    "labels with names such as nsfw or porn count as unsafe.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                types.SafetyChecker.Output(display_name="safety_checker", tooltip="For the Safety Filter node."),
            ],
            **newer(search="nsfw, nudenet, nsfw detector, censor, nudity, content filter"),
        )

    @classmethod
    def validate_inputs(cls, checker: str | None = None) -> bool | str:
        return combos.check(checker, _checkers(), _missing)

    @classmethod
    @advise("Load Safety Checker", LOADING)
    def execute(cls, checker: str, provider: str, preset: str = checking.PRESETS[0], unsafe_labels: str = "") -> io.NodeOutput:
        labels = [label.strip() for label in unsafe_labels.split(",") if label.strip()]
        folders = folder_paths.get_folder_paths(MODEL_FOLDER)
        return io.NodeOutput(load.load_checker(checker, provider, preset, labels, folders, place))


class FaceGenCombineSafetyCheckers(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        several = "From Load Safety Checker, or from another of these nodes."
        return io.Schema(
            node_id="FaceGenCombineSafetyCheckers",
            display_name="Combine Safety Checkers (FaceGen)",
            category="FaceGen/safety",
            description="Combines several safety checkers into one: a picture is unsafe if any, or if all, of them say so.",
            inputs=[
                types.SafetyChecker.Input("safety_checker_1", tooltip=several),
                types.SafetyChecker.Input("safety_checker_2", tooltip=several),
                types.SafetyChecker.Input("safety_checker_3", optional=True, tooltip=several),
                types.SafetyChecker.Input("safety_checker_4", optional=True, tooltip=several),
                io.Combo.Input(
                    "unsafe_when",
                    options=list(checking.COMBINE),
                    default=checking.ANY,
                    tooltip="any: one alarm is enough; this is the safe choice. all: only what every checker flags, for fewer "
                    "false alarms.",
                ),
            ],
            outputs=[types.SafetyChecker.Output(display_name="safety_checker", tooltip="For the Safety Filter node.")],
            **newer(search="nsfw, nudenet, censor, content filter"),
        )

    @classmethod
    @advise("Combine Safety Checkers")
    def execute(cls, unsafe_when: str, **checkers: checking.SafetyChecker | None) -> io.NodeOutput:
        connected = [checker for _, checker in sorted(checkers.items()) if checker is not None]
        return io.NodeOutput(checking.CombinedChecker(connected, unsafe_when))


class FaceGenSafetyFilter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenSafetyFilter",
            display_name="Safety Filter (FaceGen)",
            category="FaceGen/safety",
            description="Hides unsafe pictures of a batch, or the unsafe parts of them. Safe pictures pass unchanged. "
            "If the checker can't run, the node stops with an error and no picture passes.",
            inputs=[
                io.Image.Input("image", tooltip="RGB pictures to check, one or a batch."),
                types.SafetyChecker.Input("safety_checker", tooltip="From the Load Safety Checker node."),
                io.Combo.Input(
                    "safety_checker_type",
                    **widget(
                        "safety_checker_type",
                        tooltip="What replaces unsafe content: a black area, a heavy blur, large blocks, or a notice.",
                    ),
                ),
                io.Float.Input(
                    "threshold",
                    default=checking.DEFAULT_THRESHOLD,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Score from which a picture is unsafe. 0.4 means the limits of the checker's preset. Lower hides "
                    "more, with more false alarms; higher hides only what the checker is sure of. 0 hides all.",
                ),
                io.Combo.Input(
                    "region",
                    options=list(redaction.REGIONS),
                    default=redaction.WHOLE,
                    tooltip="Hide the whole unsafe picture (safest), or only the areas found in it, with a margin: "
                    "anything else that the checker overlooked stays visible.",
                ),
                io.String.Input(
                    "notice",
                    default=NOTICE,
                    optional=True,
                    tooltip="What sensitive_content_text says: plain letters without accents, at most 200.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The batch, with unsafe content hidden."),
                io.Mask.Output(display_name="flagged", tooltip="White where pixels were hidden, a mask per picture."),
                io.Boolean.Output(display_name="any_flagged", tooltip="Whether any picture of the batch was unsafe."),
                io.String.Output(display_name="report", tooltip="Scores and boxes of each picture as JSON, no pixels."),
            ],
            **newer(search="nsfw, nsfw filter, censor, blur nudity, pixelate, content filter, moderation"),
        )

    @classmethod
    @advise("Safety Filter", {**PICTURES, **CHECKER})
    def execute(
        cls,
        image: Tensor,
        safety_checker: checking.SafetyChecker,
        safety_checker_type: str,
        threshold: float,
        region: str,
        notice: str = NOTICE,
    ) -> io.NodeOutput:
        done = filter_images(image, safety_checker, safety_checker_type, region, threshold, notice, reports.progress())
        report = json.dumps(done.report, indent=2)
        return io.NodeOutput(done.images, done.mask, any(done.flagged), report, ui=reports.report(_in_words(done.report)))


def _in_words(report: dict[str, Any]) -> str:
    """One line per picture: "picture 0: safe (0.12)" or "picture 1: unsafe (0.71), black, whole image: LABEL 0.71"."""
    lines = []
    for number, picture in enumerate(report["pictures"]):
        line = f"picture {number}: {'unsafe' if picture['flagged'] else 'safe'} ({picture['score']:.2f})"
        if picture["flagged"]:
            unsafe = [d for d in picture["detections"] if d["score"] >= report["threshold"]]
            found = ", ".join(f"{d['label']} {d['score']:.2f}" for d in unsafe)
            line += f", {picture['shown']}, {picture['region']}" + (f": {found}" if found else "")
        lines.append(line)
    return "\n".join(lines)


NODES = [FaceGenLoadSafetyChecker, FaceGenCombineSafetyCheckers, FaceGenSafetyFilter]

"""Nodes that check pictures and hide what is unsafe."""

import json

from comfy_api.latest import io

from ..models import onnx_providers, redaction, safety
from ..models.pictures import require_rgb
from . import types


class FaceGenLoadSafetyChecker(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenLoadSafetyChecker",
            display_name="Load Safety Checker (FaceGen)",
            category="FaceGen/safety",
            description="Loads a detector of nudity for the Safety Filter node.",
            inputs=[
                io.Combo.Input(
                    "checker",
                    options=safety.CHECKERS,
                    default=safety.CHECKERS[0],
                    tooltip="nudenet finds exposed body parts and where they are; its Python package holds its model.",
                ),
                io.Combo.Input(
                    "provider",
                    options=onnx_providers.available(),
                    default="auto",
                    tooltip="What the checker runs on. auto is the GPU if the installed ONNX Runtime can use it.",
                ),
            ],
            outputs=[
                types.SafetyChecker.Output(display_name="safety_checker", tooltip="For the Safety Filter node."),
            ],
        )

    @classmethod
    def execute(cls, checker: str, provider: str) -> io.NodeOutput:
        return io.NodeOutput(safety.load_checker(checker, provider))


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
                    options=list(redaction.ACTIONS),
                    default="black",
                    tooltip="What replaces unsafe content: a black area, a heavy blur, large blocks, or a notice.",
                ),
                io.Float.Input(
                    "threshold",
                    default=safety.DEFAULT_THRESHOLD,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Score from which a picture is unsafe. Lower hides more, with more false alarms; higher "
                    "hides only what the checker is sure of. 0 hides all; nudenet reports nothing below 0.25.",
                ),
                io.Combo.Input(
                    "region",
                    options=list(redaction.REGIONS),
                    default=redaction.WHOLE,
                    tooltip="Hide the whole unsafe picture (safest), or only the areas found in it, with a margin: "
                    "something beside them that the checker overlooked then stays visible.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The batch, with what is unsafe hidden."),
                io.Mask.Output(display_name="flagged", tooltip="White where pixels were hidden, a mask per picture."),
                io.Boolean.Output(display_name="any_flagged", tooltip="Whether any picture of the batch was unsafe."),
                io.String.Output(display_name="report", tooltip="Scores and boxes of each picture as JSON, no pixels."),
            ],
        )

    @classmethod
    def execute(cls, image, safety_checker, safety_checker_type, threshold, region) -> io.NodeOutput:
        require_rgb(image, "Safety Filter")
        results = safety_checker.check(image)
        images, mask, flagged = redaction.redact(image, results, safety_checker_type, region, threshold)
        report = safety.report(results, threshold, safety_checker.name)
        return io.NodeOutput(images, mask, any(flagged), json.dumps(report, indent=2))

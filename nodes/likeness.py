"""Which of the pictures look like the person."""

import json
import logging

from comfy_api.latest import io
from torch import Tensor

from ..errors import advise
from ..models.face.analysis import FaceAnalysis
from ..models.face.embeds import FaceEmbeds
from ..models.face.likeness import NO_FACE, best_pictures, in_words, likenesses
from ..models.pictures import require_rgb
from .host import reports, types
from .host.cures import FACE_PACK, PICTURES, RECOGNISER
from .host.schema import newer

log = logging.getLogger(__name__)


class FaceGenLikeness(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenLikeness",
            display_name="Likeness (FaceGen)",
            category="FaceGen/face",
            description="Measures how much the face in each picture is like the person, and sorts the pictures best first.",
            inputs=[
                io.Image.Input("image", tooltip="The pictures to judge, one batch."),
                types.FaceAnalysis.Input(
                    "face_analysis", tooltip="From Load Face Analyzer. Use the same model pack that made face_embeds."
                ),
                types.FaceEmbeds.Input("face_embeds", tooltip="The person, from Embed Face."),
                io.Int.Input(
                    "keep",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="How many of the best pictures are kept.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The pictures most like the person, best first."),
                io.Float.Output(display_name="score", tooltip="Cosine of the best picture, -1 to 1; -1 when none has a face."),
                io.String.Output(display_name="report", tooltip="JSON: cosine and percentage of every picture, best first."),
            ],
            **newer(search="face similarity, face distance, compare faces, resemblance, best of n, arcface, insightface"),
        )

    @classmethod
    @advise("Likeness", {**RECOGNISER, **FACE_PACK, **PICTURES})
    def execute(cls, image: Tensor, face_analysis: FaceAnalysis, face_embeds: FaceEmbeds, keep: int) -> io.NodeOutput:
        require_rgb(image)
        scores = likenesses(image, face_analysis, face_embeds, reports.progress())
        kept, best = best_pictures(image, scores, keep)
        _, ranking = best_pictures(image, scores, len(scores))
        if best[0].cosine is None:
            log.warning("FaceGen: Likeness has nothing to say of any of the %d pictures (%s).", len(image), best[0].why)
        top = NO_FACE if best[0].cosine is None else best[0].cosine
        report = json.dumps([score.as_dict() for score in ranking], indent=1)
        return io.NodeOutput(kept, top, report, ui=reports.report(in_words(ranking)))


NODES = [FaceGenLikeness]

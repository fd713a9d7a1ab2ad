"""The model that comes with the pack, from its files to what ComfyUI's own loaders would have given."""

from pathlib import Path

from comfy_api.latest import io

from ..errors import Cures, FaceGenError, TinyFilesError, advise
from ..models import tiny_files
from ..models.face.analysis import FaceAnalysis
from ..models.face.packs.find import role
from ..models.face.packs.session import require_insightface
from ..models.identity.faceid.adapter import FaceIDAdapter
from .host import types
from .host.cures import INSIGHTFACE
from .host.networks.tiny import load_clip, load_clip_vision, load_model, load_vae
from .host.schema import newer

CURES: Cures = {
    TinyFilesError: "It belongs to the pack: install the pack again or, in a git checkout of it, run: "
    "git checkout -- models/tiny",
    **INSIGHTFACE,
}


class FaceGenLoadTinyModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenLoadTinyModel",
            display_name="Load Tiny Model (FaceGen)",
            category="FaceGen",
            description="For demonstration: loads the small model that comes with the pack, so that you can try graphs without "
            "a download. It was trained by this project on its own drawings, at 256x256; it can't make real portraits.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="A model like SD1.5, but much smaller, for pictures of 256x256."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder."),
                io.Vae.Output(display_name="vae", tooltip="Its VAE."),
                io.ClipVision.Output(display_name="clip_vision", tooltip="For Embed Face: the adapter reads this one."),
                types.FaceID.Output(display_name="faceid", tooltip="A PlusV2 adapter that fits only this model."),
                types.FaceAnalysis.Output(
                    display_name="face_analysis", tooltip="For Embed Face: a small detector and a small recogniser."
                ),
            ],
            **newer(search="demo, example, try, without models, no download, test model"),
        )

    @classmethod
    @advise("Load Tiny Model", CURES)
    def execute(cls) -> io.NodeOutput:
        folder = tiny_files.require_tiny_files()
        parts = load_model, load_clip, load_vae, load_clip_vision, _faceid, _face_analysis
        return io.NodeOutput(*(load(folder) for load in parts))


def _faceid(folder: Path) -> FaceIDAdapter:
    file = folder / tiny_files.FACEID
    try:
        return FaceIDAdapter(file)
    except FaceGenError as error:  # which counts on a file that was downloaded
        raise tiny_files.unusable(file, _reason(error)) from error


def _face_analysis(folder: Path) -> FaceAnalysis:
    require_insightface()
    for name, wanted in ((tiny_files.DETECTOR, "detector"), (tiny_files.RECOGNISER, "recogniser")):
        if (found := role(folder / name)) != wanted:
            raise tiny_files.unusable(folder / name, f"as a {wanted} it is {found}")
    try:
        return FaceAnalysis(folder / tiny_files.FACE_PACK)
    except FaceGenError as error:
        raise tiny_files.unusable(folder / tiny_files.FACE_PACK, _reason(error)) from error


def _reason(error: FaceGenError) -> object:
    """What the library said, or the first sentence of ours."""
    return error.__cause__ or str(error).partition(". ")[0]


NODES = [FaceGenLoadTinyModel]

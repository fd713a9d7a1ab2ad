"""Nodes that combine, save and load face embeddings."""

import os
import unicodedata
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..errors import (
    Cures,
    FaceGenError,
    NewerFileError,
    NoFaceError,
    SeveralPeopleError,
    UnreadableFileError,
    WrongClipVisionError,
    WrongRecogniserError,
    advise,
)
from ..models.face.combine import METHODS, combine_faces, outliers
from ..models.face.embeds import FaceEmbeds
from ..models.face.recognisers import recogniser
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.identity.instantid.adapter import InstantIDAdapter
from .host import combos, types
from .host.folders import faces_folder
from .host.reports import report
from .host.schema import ADVANCED, newer

COUNT = 4
FACE = {"optional": True, "tooltip": "From Embed Face or Load Face Embeds."}
WEIGHT = {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.05, "tooltip": "Share of this face. 0 leaves it out."}
FACEID_RECOGNISER, ANY = FaceIDAdapter.recogniser, "any"
ENDING = ".safetensors"
WANTED = "a saved face -> run Save Face Embeds once (user/facegen/faces), then press R"
COMBINE_CURES: Cures = {
    NoFaceError: "Connect Embed Face to face_embeds_1.",
    SeveralPeopleError: "Set combine to average or concat on its Embed Face.",
    WrongClipVisionError: "Use the same clip_vision on every Embed Face.",
    WrongRecogniserError: "Use one model pack for all: choose it in Load Face Analyzer.",
}
LOAD_CURES: Cures = {
    UnreadableFileError: "Embed the photo again with Embed Face, and keep it with Save Face Embeds.",
    NewerFileError: "Update this pack, or embed the photo again.",
    WrongRecogniserError: f"Embed the photo again with a model pack that holds it, or set recogniser to the one that your "
    f"adapter needs, or to {ANY}.",
}


class FaceGenCombineFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenCombineFaces",
            display_name="Combine Faces (FaceGen)",
            category="FaceGen/face",
            description="Makes one person out of up to four face embeddings: a weighted mean, all of them side by side, or the "
            "first minus the others.",
            inputs=[
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="average",
                    tooltip="average: weighted mean; concat: each keeps its tokens; subtract: moves the first away from the "
                    "others.",
                ),
                types.FaceEmbeds.Input("face_embeds_1", **FACE),
                io.Float.Input("weight_1", **WEIGHT),
                types.FaceEmbeds.Input("face_embeds_2", **FACE),
                io.Float.Input("weight_2", **WEIGHT),
                types.FaceEmbeds.Input("face_embeds_3", **FACE),
                io.Float.Input("weight_3", **WEIGHT),
                types.FaceEmbeds.Input("face_embeds_4", **FACE),
                io.Float.Input("weight_4", **WEIGHT),
            ],
            outputs=[types.FaceEmbeds.Output(display_name="face_embeds")],
            **newer(search="merge faces, average face, face mix, consistent character, several photos, faceid"),
        )

    @classmethod
    @advise("Combine Faces", COMBINE_CURES)
    def execute(cls, method: str, **inputs: Any) -> io.NodeOutput:
        names = [f"face_embeds_{n}" for n in range(1, COUNT + 1)]
        face_embeds = {name: inputs[name] for name in names if inputs.get(name) is not None}
        weights = {name: inputs[name.replace("face_embeds", "weight")] for name in face_embeds}
        combined = combine_faces(face_embeds, weights, method)
        return io.NodeOutput(combined, ui=report(_strangers(face_embeds) if method != "subtract" else ""))


def _strangers(face_embeds: dict[str, FaceEmbeds]) -> str:
    """Which of the faces is of somebody else, in words; "" if none."""
    names = list(face_embeds)
    known = set[str]().union(*(each.recognisers for each in face_embeds.values()))  # one, or none that is known
    same_person = recogniser(next(iter(known), "")).same_person
    found = outliers(torch.cat([each.combined("average").normed_identity for each in face_embeds.values()]), same_person)
    return "\n".join(
        f"{names[i]} seems to be somebody else: its cosine to the others is {cosine:.2f}; {same_person} or more is one person."
        for i, cosine in found.items()
    )


class FaceGenSaveFaceEmbeds(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenSaveFaceEmbeds",
            display_name="Save Face Embeds (FaceGen)",
            category="FaceGen/face",
            description="Writes face embeddings to ComfyUI's user folder, under facegen/faces. They are biometric data: "
            "protect them like the photo, and delete them when they are no longer needed.",
            inputs=[
                types.FaceEmbeds.Input("face_embeds", tooltip="From Embed Face or Combine Faces."),
                io.String.Input("filename_prefix", default="face", tooltip="Name of the file. A number is added."),
            ],
            outputs=[],
            is_output_node=True,
            **newer(search="face model, save face model, reactor, consistent character, character, faceid"),
        )

    @classmethod
    @advise("Save Face Embeds")
    def execute(cls, face_embeds: FaceEmbeds, filename_prefix: str) -> io.NodeOutput:
        root = os.path.abspath(faces_folder())
        name = filename_prefix.replace("\\", "/").strip("/ ")
        target = os.path.abspath(os.path.join(root, name))
        if not name or _has_controls(name) or os.path.commonpath((root, target)) != root or target == root:
            raise FaceGenError(f"{filename_prefix!r} is not a file name inside {root}. Use one such as face.")
        try:
            folder, file, number, *_ = folder_paths.get_save_image_path(name, root)
        except (OSError, ValueError) as error:  # too long, no right to write, a folder that is a file
            raise FaceGenError(f"No file can be made for {filename_prefix[:80]!r} in {root}: {error}.") from error
        path = os.path.join(folder, f"{file}_{number:05}_{ENDING}")
        face_embeds.save(path)
        return io.NodeOutput(ui=report(f"saved as {os.path.relpath(path, root)}"))


class FaceGenLoadFaceEmbeds(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenLoadFaceEmbeds",
            display_name="Load Face Embeds (FaceGen)",
            category="FaceGen/face",
            description="Reads face embeddings that Save Face Embeds wrote, so that you no longer need the photo.",
            inputs=[
                io.Combo.Input(
                    "face_file",
                    options=combos.options(_files(), WANTED),
                    tooltip="File in ComfyUI's user folder, under facegen/faces.",
                ),
                io.Combo.Input(
                    "recogniser",
                    options=[FACEID_RECOGNISER, ANY, InstantIDAdapter.recogniser],
                    default=FACEID_RECOGNISER,
                    tooltip="The recogniser that the adapter expects: w600k_r50 (buffalo_l) for all published FaceID adapters, "
                    "glintr100 (antelopev2) for InstantID and PuLID. Faces from another one are refused. any turns this check "
                    "off.",
                    **ADVANCED,
                ),
            ],
            outputs=[types.FaceEmbeds.Output(display_name="face_embeds")],
            **newer(search="face model, load face model, reactor, consistent character, character, faceid"),
        )

    @classmethod
    def validate_inputs(cls, face_file: str | None = None) -> bool | str:
        return combos.check(face_file, _files(), _missing)

    @classmethod
    def fingerprint_inputs(cls, face_file: str, **_: Any) -> object:
        path = faces_folder() / face_file
        return (face_file, path.stat().st_mtime_ns) if path.is_file() else face_file

    @classmethod
    @advise("Load Face Embeds", LOAD_CURES)
    def execute(cls, face_file: str, recogniser: str) -> io.NodeOutput:
        root = faces_folder().resolve()
        if _has_controls(face_file):
            raise FaceGenError(f"{face_file!r} is no file name.")
        path = (root / face_file).resolve()
        if not path.is_relative_to(root):
            raise FaceGenError(f"{face_file!r} lies outside {root}.")
        face_embeds = FaceEmbeds.load(path)
        if recogniser != ANY:
            if not face_embeds.recognisers:
                raise FaceGenError(
                    f"{path} doesn't say which recogniser made it. Embed the photo again, or set recogniser to {ANY}."
                )
            face_embeds.require_recogniser(recogniser)
        return io.NodeOutput(face_embeds)


def _has_controls(name: str) -> bool:
    """Whether it holds what no file name can: control characters such as NUL, and halves of characters."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def _missing(name: str) -> str:
    get = "Make one with Embed Face and Save Face Embeds, or put a file that was saved elsewhere into that folder."
    return combos.not_here("Load Face Embeds", name, _files(), str(faces_folder()), get)


def _files() -> list[str]:
    root = faces_folder()
    return sorted(path.relative_to(root).as_posix() for path in root.rglob(f"*{ENDING}")) if root.is_dir() else []


NODES = [FaceGenCombineFaces, FaceGenSaveFaceEmbeds, FaceGenLoadFaceEmbeds]

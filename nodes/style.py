"""Style node."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..errors import advise
from ..models.style import find_style, style_files
from .host import types
from .host.folders import styles_folder
from .host.schema import newer


def _styles() -> dict[str, Path]:
    return style_files(styles_folder())


class FaceGenStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenStyle",
            display_name="Face Style (FaceGen)",
            category="FaceGen",
            description="Puts a prompt into a style's template and carries the FaceID settings that suit the style. "
            "Your own styles are JSON files in ComfyUI's user folder, under facegen/styles.",
            inputs=[
                io.Combo.Input("style", options=list(_styles()), tooltip="What the picture should look like."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    dynamic_prompts=True,
                    tooltip="What the picture should show, e.g. a woman in a red coat. It is put into the style's template. "
                    "A prompt typed into the Face Portrait Sampler is used in its place.",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    default="",
                    dynamic_prompts=True,
                    tooltip="What it should not show. The style adds its own words after yours. "
                    "One typed into the Face Portrait Sampler is used in its place.",
                ),
            ],
            outputs=[
                types.FaceStyle.Output(display_name="style", tooltip="For the Face Portrait Sampler."),
                io.String.Output(display_name="positive", tooltip="The finished prompt, for a stock CLIP Text Encode."),
                io.String.Output(display_name="negative", tooltip="The finished negative prompt."),
            ],
            **newer(search="prompt style, style preset, anime, comic, chibi, portrait style, styler"),
        )

    @classmethod
    def fingerprint_inputs(cls, style: str, **_: Any) -> object:
        # A user may edit a style file between two runs.
        path = _styles().get(style)
        return (style, path.stat().st_mtime_ns) if path and path.is_file() else style

    @classmethod
    @advise("Face Style")
    def execute(cls, style: str, prompt: str, negative_prompt: str) -> io.NodeOutput:
        face_style = replace(find_style(style, styles_folder()), user_prompt=prompt, user_negative=negative_prompt)
        return io.NodeOutput(face_style, face_style.positive(), face_style.negative_prompt())


NODES = [FaceGenStyle]

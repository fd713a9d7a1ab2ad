"""Styles: what a picture should look like, as a prompt template and the FaceID settings that suit it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contract import FIELDS, STYLES, Field, known_styles
from ..errors import FaceGenError
from .identity.layer_weights import parse_layer_weights

BUILT_IN = Path(__file__).parent / "styles"
MOST_BLOCKS = 70  # cross-attention blocks of SDXL
WEIGHT = Field("weight", float, "Factor on the FaceID weight.", default=1.0, minimum=0, maximum=3)


@dataclass(frozen=True)
class FaceStyle:
    """One style file.

    prompt         template; "{prompt}" stands for the user's own words.
    negative       added after the user's negative prompt.
    weight         factor on the FaceID weight, 0 to 3: how much likeness the style can bear.
    s_scale        advice, not applied: a face-structure weight that tends to look right in this style.
    layer_weights  per-block weights, in the syntax of `layer_weights.parse_layer_weights`.
    user_prompt    what the user typed with the style, in place of an empty prompt; user_negative likewise.
    """

    name: str
    prompt: str
    negative: str = ""
    weight: float = 1.0
    s_scale: float = 1.0
    layer_weights: str = ""
    description: str = ""
    user_prompt: str = ""
    user_negative: str = ""

    def positive(self, prompt: str = "") -> str:
        """The template with the user's prompt in it; without a prompt, what was typed into the style itself."""
        words = (prompt.strip() or self.user_prompt.strip()).strip(", ")
        filled = self.prompt.replace("{prompt}", words)
        return ", ".join(part.strip() for part in filled.split(",") if part.strip())

    def negative_prompt(self, prompt: str = "") -> str:
        """The user's negative prompt and the style's; without the former, what was typed into the style itself."""
        words = prompt.strip() or self.user_negative.strip()
        return ", ".join(part.strip(", ") for part in (words, self.negative) if part.strip(", "))


PLAIN = FaceStyle(name="", prompt="{prompt}")


def style_files(*folders: str | Path) -> dict[str, Path]:
    """Style name -> file: the contract's in its order, the pack's others, then the user's. A user's file replaces one of the
    pack of its name."""
    found = {name: BUILT_IN / f"{name}.json" for name in STYLES}
    for folder in (BUILT_IN, *folders):
        found |= {path.stem: path for path in sorted(Path(folder).glob("*.json"))}
    return found


def find_style(name: str, *folders: str | Path) -> FaceStyle:
    """The style of that name, PLAIN for "". Raises FaceGenError if there is none, or if its file is wrong."""
    if not name:
        return PLAIN
    files = style_files(*folders)
    if problem := known_styles(files).problem(name):
        raise FaceGenError(problem)
    return load_style(files[name])


def load_style(path: str | Path) -> FaceStyle:
    """Read a style file. Raises FaceGenError naming the file and the field that is wrong."""
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise FaceGenError(f"Style file {path} can't be read: {error}") from error
    if not isinstance(data, dict) or "{prompt}" not in _text(path, data, "prompt"):
        raise FaceGenError(f'Style file {path} needs a "prompt" with {{prompt}} in it.')
    faceid = data.get("faceid", {})
    if not isinstance(faceid, dict):
        raise FaceGenError(f'Style file {path}: "faceid" must be an object such as {{"weight": 0.8}}.')
    style = FaceStyle(
        name=path.stem,
        prompt=_text(path, data, "prompt"),
        negative=_text(path, data, "negative"),
        weight=_number(path, faceid, WEIGHT),
        s_scale=_number(path, faceid, FIELDS["s_scale"]),
        layer_weights=_text(path, faceid, "layer_weights"),
        description=_text(path, data, "description"),
    )
    try:
        parse_layer_weights(style.layer_weights, MOST_BLOCKS)
    except FaceGenError as error:
        raise FaceGenError(f"Style file {path}: {error}") from error
    return style


def _text(path: Path, data: dict[str, Any], name: str) -> str:
    value = data.get(name, "")
    if not isinstance(value, str):
        raise FaceGenError(f'Style file {path}: "{name}" must be a text, got {value!r}.')
    return value


def _number(path: Path, data: dict[str, Any], rule: Field) -> float:
    value = data.get(rule.name, rule.default)
    if problem := rule.problem(value):
        raise FaceGenError(f"Style file {path}: {problem}")
    return float(value)

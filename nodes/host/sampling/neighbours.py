"""Other packs on the same blocks, before our node or after it: neither takes the block's attention away from the other."""

from typing import Any

from torch import Tensor

from .rows import Options

FACES, BLOCKS = "facegen_faces", "facegen_blocks"  # in transformer_options
APPLIED = "facegen_applied"  # in what a block is told

Slots = dict[tuple[str | int, ...], Any]  # what is put in an attention's place, by the host's name of it


def beside(options: Options) -> Options:
    """transformer_options in which a face and what other packs put onto its blocks later both count."""
    replacements = options.get("patches_replace", {})
    replaced = replacements.get("attn2", {})
    # The host passes over what replaces a whole block where a transformer layer has one of its own.
    options = {**options, BLOCKS: {key: patch for key, patch in replaced.items() if len(key) == 2}}
    faces = options.get(FACES, {})
    taken = {key: _Beside(replaced[key], faces[key]) for key in faces if _is_taken(key, faces, replaced)}
    if not taken:
        return options
    return {**options, "patches_replace": {**replacements, "attn2": {**replaced, **taken}}}


def before(key: tuple[str | int, ...], faces: Slots, replaced: Slots) -> Any:
    """What replaces the attention of the block `key` (part, number, layer) before a face is put there; None for nothing."""
    # The host looks for an entry of this transformer layer first, then for one of the whole block.
    previous = replaced.get(key, replaced.get(key[:2]))
    return _Beside(previous, faces[key]) if _is_taken(key, faces, replaced) else previous


def _is_taken(key: tuple[str | int, ...], faces: Slots, replaced: Slots) -> bool:
    """Whether another pack put something else into the slot in which a face was."""
    return key in faces and key in replaced and type(replaced[key]) is not type(faces[key])


class _Beside:
    """What took a face's place, and the face, unless the other calls it itself."""

    def __init__(self, other: Any, face: Any):
        self.other, self.face = other, face

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Any:
        around = extra_options.pop(APPLIED, False)
        out = self.other(q, k, v, extra_options)
        if not extra_options.get(APPLIED):
            out = self.face.onto(out, q, k, v, extra_options)
        extra_options[APPLIED] = around or extra_options.get(APPLIED, False)
        return out

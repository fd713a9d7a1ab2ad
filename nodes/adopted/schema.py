"""An old node's description as a schema of ComfyUI's."""

from typing import Any, ClassVar

import folder_paths
from comfy_api.latest import io

from ...adoption.old_nodes import CATEGORY, Input, OldNode
from ..host import combos

NUMBERS = {"FLOAT": io.Float, "INT": io.Int}


class Adopted(io.ComfyNode):
    """A node that stands in for OLD."""

    OLD: ClassVar[OldNode]

    @classmethod
    def define_schema(cls) -> io.Schema:
        old = cls.OLD
        return io.Schema(
            node_id=old.new_id,
            display_name=old.display_name,
            category=CATEGORY,
            description=old.description,
            inputs=[_input(one) for one in old.inputs],
            outputs=[io.Custom(one.kind).Output(display_name=one.name, is_output_list=one.many) for one in old.outputs],
            is_deprecated=True,
        )


def _input(one: Input) -> Any:
    if one.kind in NUMBERS:
        rules = {"min": one.low, "max": one.high, "step": one.step}
        return NUMBERS[one.kind].Input(one.name, default=one.default, optional=one.optional, **rules)
    if one.kind == "BOOLEAN":
        return io.Boolean.Input(one.name, default=one.default, optional=one.optional)
    if one.kind == "COMBO":
        options = combos.options(files(one), f"a file in models/{one.folder}") if one.folder else list(one.options)
        return io.Combo.Input(one.name, options=options, default=one.default, optional=one.optional)
    return io.Custom(one.kind).Input(one.name, optional=one.optional)


def files(one: Input) -> list[str]:
    """The model files that a combo lists."""
    return list(folder_paths.get_filename_list(one.folder))

"""Widgets of the contract's fields."""

from typing import Any

from ...contract import ENDPOINTS, FIELDS

# What nodes that sample by themselves say of a field.
S_SCALE = "Weight of the face's structure (PlusV2 only): about 1.3 for photographs, 0.1 to 0.5 for drawings."


def widget(name: str, **changes: Any) -> dict[str, Any]:
    """Arguments for the input of a contract's field: default, min, max, step, options and tooltip, where the field has them.

    `changes` replaces or adds some, such as a tooltip of the node's own or a wider range than the hosted service has.
    """
    field = FIELDS[name]
    stated = {
        "default": field.default,
        "min": field.minimum,
        "max": field.maximum,
        "step": field.multiple_of,
        "options": list(field.choices) or None,
        "tooltip": field.description,
    }
    return {key: value for key, value in stated.items() if value is not None} | changes


def widest(name: str) -> dict[str, float]:
    """The range of a number's input that holds what any endpoint takes."""
    rules = [endpoint.fields[name] for endpoint in ENDPOINTS.values() if name in endpoint.fields]
    return {"min": min(rule.minimum or 0 for rule in rules), "max": max(rule.maximum or 0 for rule in rules)}

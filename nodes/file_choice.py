"""Combos of files that have to be fetched first: what they say while there is none, and about a choice that isn't there."""

from collections.abc import Iterable

from ..models.errors import FaceGenError

MISSING = "missing: "  # web/js/facegen.js knows an entry that is no file by it


def options(found: Iterable[str], wanted: str) -> list[str]:
    """The files to choose from; in place of an empty list what is missing, where it goes and how to get it."""
    return list(found) or [MISSING + wanted]


def problem(value: str | None, found: Iterable[str], cure: str) -> bool | str:
    """For validate_inputs, instead of ComfyUI's "value not in list": True, or the cure. None comes from another node."""
    return value is None or value in found or cure


def require(value: str, found: Iterable[str], cure: str) -> None:
    """For execute, where a connected value is seen for the first time. Raises FaceGenError with the cure."""
    if value not in found:
        raise FaceGenError(cure)


def not_here(node: str, value: str, found: Iterable[str], where: str, get: str) -> str:
    """The cure: which file is not where, what is there instead, and how to get it."""
    there = ", ".join(list(found)[:12]) or "nothing yet"
    what = "no file is chosen" if value.startswith(MISSING) else f"{value!r} is not there"
    return f"{node}: {what}. Looked in {where}; found {there}. {get} Then press R in ComfyUI and choose it here."

"""Combos of files that have to be fetched first: what they say while there is none, and about a choice that isn't there."""

from collections.abc import Callable, Collection

from ...comfyui.choices import NO_FILE as NO_FILE
from ...errors import FaceGenError

Cure = Callable[[str], str]  # the choice -> what to do about it


def options(found: Collection[str], wanted: str) -> list[str]:
    """The files to choose from; in place of an empty list what is missing, where it goes and how to get it."""
    return list(found) or [NO_FILE + wanted]


def check(value: str | None, found: Collection[str], cure: Cure) -> bool | str:
    """For validate_inputs, instead of ComfyUI's "value not in list": True, or the cure. None comes from another node."""
    return value is None or value in found or cure(value)


def require(value: str, found: Collection[str], cure: Cure) -> None:
    """For execute, where a connected value is seen for the first time. Raises FaceGenError with the cure."""
    if value not in found:
        raise FaceGenError(cure(value))


def not_here(node: str, value: str, found: Collection[str], where: str, get: str) -> str:
    """The cure: which file is not where, what is there instead, and how to get it."""
    there = ", ".join(list(found)[:12]) or "nothing yet"
    what = "no file is chosen" if value.startswith(NO_FILE) else f"{value!r} is not there"
    return f"{node}: {what}. Looked in {where}; found {there}. {get} Then press R in ComfyUI and choose it on the node."

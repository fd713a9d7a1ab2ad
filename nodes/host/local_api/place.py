"""ComfyUI as the program that serves the local API."""

from collections.abc import Callable, Collection
from pathlib import Path

from ....api.local.config import TOKEN_VARIABLE
from ....api.local.place import Place


def comfyui_place(
    listen: tuple[str, ...], port: int, tls: bool, temp: Path, user: Path, own_styles: Callable[[], Collection[str]] = tuple
) -> Place:
    """`listen`: the addresses ComfyUI listens on; `temp` and `user`: its temporary folder and its user folder; `own_styles`
    names the user's own styles."""
    return Place(
        program="ComfyUI",
        listen=listen,
        port=port,
        tls=tls,
        folder=user / "facegen",
        photos=temp / "facegen",
        turn_on="turn it on in ComfyUI's settings, under FaceGen.",
        set_token=f"Set {TOKEN_VARIABLE}, or token in user/facegen/local_api.json, and restart ComfyUI.",
        own_styles=own_styles,
    )

"""Which latents, or which lines of them, a context window holds: asked of the window itself, which may hold anchors, too."""

from typing import Any, NamedTuple

import torch

from ....errors import FaceGenError

HOST_WINDOW = "context_window"  # where ComfyUI puts it into transformer_options
ANIMATEDIFF = "ad_params"  # where AnimateDiff-Evolved says what its own windows hold

Shape = tuple[int, ...]


class Lines(NamedTuple):
    """The lines of latent pixels that a window over the height or width holds.

    axis     -2 for the height, -1 for the width.
    numbers  of the lines, in the window's order.
    total    lines of the whole picture.
    """

    axis: int
    numbers: tuple[int, ...]
    total: int


def host_window(window: Any, shape: Shape, whole: Shape | None, retained: list[int]) -> tuple[tuple[int, ...], Lines | None]:
    """Numbers of the latents in a call to the model and, of a window over height or width, its lines.

    window    ComfyUI's window, or None. It stays in the options when it is over, so it counts if the call has its size.
    shape     [B, C, H, W] of the call's latents for each conditioning.
    whole     the same of all that is sampled, where a guider said it.
    retained  numbers that the window's handler puts into every window, at their own places.
    Raises FaceGenError when the call is neither the window nor the whole.
    """
    everything = tuple(range(shape[0]))
    if window is None or window.dim >= len(shape):
        return everything, None
    dim = window.dim
    last = max(*window.index_list, *retained, getattr(window, "total_frames", 0) - 1)
    total = whole[dim] if whole else last + 1
    keywords = {"retain_index_list": retained} if retained else {}
    numbers = tuple(window.get_tensor(torch.arange(total), dim=0, **keywords).flatten().tolist())
    if len(numbers) != shape[dim]:
        if whole is None or whole[dim] == shape[dim]:
            return everything, None
        raise FaceGenError(
            f"{shape[dim]} of {whole[dim]} latents came into a context window of {len(numbers)}, and nothing tells which they "
            "are, so the face can't be given to the right ones. Another node on this model changes what is in context windows: "
            "take it off, or sample without a face."
        )
    if dim == 0:
        return numbers, None
    return everything, Lines(dim - len(shape), numbers, total) if dim >= 2 else None


def animatediff_window(options: dict[str, Any]) -> tuple[int, ...] | None:
    """Numbers of the latents in a window of AnimateDiff-Evolved's; None outside of one."""
    numbers = (options.get(ANIMATEDIFF) or {}).get("sub_idxs")
    return None if numbers is None else tuple(numbers)

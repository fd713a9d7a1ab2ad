"""Photos in, pictures out: reading a photo upright, PNGs that say how they were made, the contact sheet."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin
from torch import Tensor

from ..atomic_write import USUAL, atomic_path
from ..errors import FaceGenError
from ..picture_file import MAX_OWN_PIXELS, OWN_FORMATS, PictureError, open_rgb

MAX_BYTES = 1 << 30  # of a photo file
PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif"}


def read_photo(path: str | Path) -> Tensor:
    """A photo file as RGB float32 [1, H, W, 3] (0-1), as picture_file reads it. Raises FaceGenError if it isn't one."""
    content = photo_bytes(path)
    try:
        return to_tensor(open_rgb(content, MAX_OWN_PIXELS, OWN_FORMATS))
    except PictureError as error:
        raise FaceGenError(f"{path} can't be read as a photo: {error}") from error


def photo_bytes(path: str | Path) -> bytes:
    """What is in a photo file. Raises FaceGenError if it isn't there, can't be read, or is too large for a photo."""
    path = Path(path)
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            large = f"It has {size >> 20} MB, and a photo of at most {MAX_BYTES >> 20} MB is needed."
            raise FaceGenError(f"{path} can't be read as a photo: {large}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FaceGenError(f"There is no photo {path}.") from error
    except OSError as error:
        raise FaceGenError(f"{path} can't be read as a photo: {error}") from error


def is_photo_file(path: Path) -> bool:
    """Whether a file is called as pictures are, also as one of a kind that isn't read; hidden ones are none."""
    return path.suffix.lower() in PHOTO_ENDINGS and not path.name.startswith(".") and path.is_file()


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as float32 [1, H, W, 3] (0-1)."""
    return torch.from_numpy(np.asarray(image).astype(np.float32)).div_(255.0)[None]


def to_image(picture: Tensor) -> Image.Image:
    """RGB float [H, W, 3] (0-1) to an 8-bit image."""
    return Image.fromarray((picture.detach().cpu().float() * 255).round().clamp(0, 255).to(torch.uint8).numpy())


def scaled(pictures: Tensor, width: int, height: int) -> Tensor:
    """RGB pictures [n, H, W, 3] (0-1) in another size, by Lanczos's filter; those that have it are given back as they are."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    resized = (to_image(picture).resize((width, height), Image.Resampling.LANCZOS) for picture in pictures)
    return torch.cat([to_tensor(image) for image in resized])


def prepare_folder(folder: Path) -> None:
    """Make the folder and try to write in it. Raises FaceGenError if that can't be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise FaceGenError(f"No pictures can be written to {folder}: {error}. Give another folder with -o.") from error


def save_png(picture: Tensor, path: Path, parameters: Mapping[str, Any]) -> None:
    """Write an RGB picture with its parameters as JSON in the PNG text "parameters"; whole, or not at all.

    Raises FaceGenError when it can't be written.
    """
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", json.dumps(parameters, ensure_ascii=False))
    try:
        with atomic_path(path, USUAL) as part:
            to_image(picture).save(part, "PNG", pnginfo=info)
    except OSError as error:
        raise FaceGenError(f"{path} can't be written: {error}") from error


def contact_sheet(cells: list[tuple[str, Tensor]], cell: int = 256, columns: int = 6) -> Tensor:
    """Labelled RGB pictures side by side as one picture [H, W, 3] (0-1)."""
    columns = min(columns, len(cells))
    label, gap = cell // 9, cell // 32
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (cell + gap) + gap, rows * (cell + label + gap) + gap), (28, 28, 32))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=cell // 17)
    for number, (text, picture) in enumerate(cells):
        x = gap + number % columns * (cell + gap)
        y = gap + number // columns * (cell + label + gap)
        sheet.paste(ImageOps.pad(to_image(picture), (cell, cell), color=(18, 18, 20)), (x, y))
        draw.text((x + cell // 2, y + cell + label // 2), text, fill=(225, 225, 225), font=font, anchor="mm")
    return to_tensor(sheet)[0]

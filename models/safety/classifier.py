"""Image classifiers in transformers' format: the probability of their unsafe labels, not of whichever label is likeliest."""

import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...errors import BrokenCheckerError, FaceGenError, MissingLibraryError, UnsafeLabelsError
from .. import safetensors_header
from ..networks import Place, stay
from ..pictures import batches, require_rgb
from .checking import SafetyResult, on_scale
from .views import LONGEST, MAX_SIDE, MOST_VIEWS, squares

LIMITS = {"default": 0.5, "strict": 0.25, "lenient": 0.75}  # of the unsafe labels' probability
BATCH = 64  # views in one pass, at most
PROBE = 256  # pixels
LEAST_SEEN = 0.5  # of the width of a square picture; resizing to 256 and cropping 224 of it keeps 0.875
ALL_BUT = 0.02  # of a side that may go unseen: a preprocessor's rounding
# Configuration -> which of its sizes are pictures'; of a preprocessor all are.
CONFIGS: dict[str, tuple[str, ...]] = {"config.json": ("image_size", "input_size"), "preprocessor_config.json": ()}
SIZED = ("size", "sizes", "dim", "dims", "layers", "depths", "heads", "channels")  # ends of names of sizes
# What published detectors call their labels; compared in lower case, with spaces for - and _.
UNSAFE = frozenset(
    {
        "nsfw",
        "not safe for work",
        "unsafe",
        "porn",
        "pornography",
        "hentai",
        "sexy",
        "sexual",
        "explicit",
        "nude",
        "nudity",
        "naked",
        "erotic",
    }
)
SAFE = frozenset({"sfw", "safe for work", "safe", "normal", "neutral", "drawing", "drawings"})


class _Logits(nn.Module):
    """A classifier that only gives its logits, and that the host may attach attributes such as `device` to."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=pixels).logits
        return logits


class ClassifierChecker:
    """An image classifier from a folder with config.json, preprocessor_config.json and safetensors. One that sees only the
    middle of a picture also looks at the rest (views); the highest score counts.

    preset         one of LIMITS.
    unsafe_labels  the labels that make a picture unsafe; empty: those whose names say so.
    place          see networks.Place.

    Raises BrokenCheckerError when the folder can't be used or its preprocessor cuts off too much of a picture,
    UnsafeLabelsError when it isn't clear which labels are unsafe, MissingLibraryError without transformers or what else it
    needs, FaceGenError on another preset.
    """

    def __init__(
        self, folder: Path, name: str, preset: str = "default", unsafe_labels: Iterable[str] = (), place: Place = stay
    ):
        if preset not in LIMITS:
            raise FaceGenError(f"Unknown preset {preset!r} of {name}. Choose one of: {', '.join(LIMITS)}.")
        self.name = name if preset == "default" else f"{name} {preset}"
        self._limit = LIMITS[preset]
        self._prepare, model = _load(folder)
        config = model.config
        self.labels = [str(config.id2label[i]) for i in range(config.num_labels)]
        self.unsafe = unsafe_among(self.labels, unsafe_labels, folder)
        # As transformers itself decides: one logit, or several that don't exclude each other, are each a probability.
        self._exclusive = config.num_labels > 1 and config.problem_type != "multi_label_classification"
        self._model = _Logits(model.float().eval().requires_grad_(False))
        self._ready = place(self._model)
        self._seen, self._width = _seen(self._prepare, PROBE)
        larger, _ = _seen(self._prepare, 2 * PROBE, 2 * PROBE)
        if not (self._seen >= LEAST_SEEN and abs(self._seen - larger) <= ALL_BUT):  # NaN compares false
            raise BrokenCheckerError(
                f"preprocessor_config.json in {folder} keeps {self._seen:.0%} of the width of a small square picture and "
                f"{larger:.0%} of a larger one. At least {LEAST_SEEN:.0%} of any is needed, or not all of it can be judged."
            )
        self._sees_all = min(self._seen, _seen(self._prepare, 2 * PROBE)[0]) > 1 - ALL_BUT

    def check(self, images: Tensor) -> list[SafetyResult]:
        """One result for each of the RGB pictures [B, H, W, 3] (float, 0-1). Raises BadPicturesError on any other
        input, and NoVerdictError when the model gives no number."""
        require_rgb(images)
        results = []
        for batch in batches(images, BATCH if self._sees_all else BATCH // (MOST_VIEWS + 1)):
            levels = (batch.float() * 255).round_().clamp_(0, 255).byte().cpu().numpy()
            views = [[Image.fromarray(p)] if self._sees_all else [*_views(p, self._seen, self._width)] for p in levels]
            pixels = self._prepare(images=[view for of_one in views for view in of_one], return_tensors="pt")["pixel_values"]
            device = self._ready()
            with torch.no_grad():
                logits = self._model(pixels.to(device)).float()
            chances = (logits.softmax(-1) if self._exclusive else logits.sigmoid()).cpu().double().numpy()
            results += [self._judge(picture) for picture in chances.reshape(len(batch), len(views[0]), -1)]
        return results

    def _judge(self, chances: np.ndarray) -> SafetyResult:
        """The verdict on one picture from the labels' probabilities in each view [views, labels]."""
        unsafe = chances[:, [self.labels.index(label) for label in self.unsafe]]
        chance = (unsafe.sum(axis=1).clip(max=1) if self._exclusive else unsafe.max(axis=1)).max()
        class_scores = dict(zip(self.labels, map(float, chances.max(axis=0)), strict=True))
        return SafetyResult(float(on_scale(chance, self._limit)), (), class_scores)


def _seen(prepare: Any, width: int, height: int = PROBE) -> tuple[float, int]:
    """(which share of the width of a picture of that many pixels reaches the network; as how many pixels).

    Preprocessors say this in many ways, so it is tried out: on a picture that grows brighter from left to right.
    """
    ramp = np.linspace(0, 255, width).round().astype(np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    pictures = [Image.fromarray(p) for p in (ramp, np.zeros_like(ramp), np.full_like(ramp, 255))]
    pixels = prepare(images=pictures, return_tensors="pt")["pixel_values"]
    if pixels.ndim != 4:  # patches of the whole picture
        return 1.0, PROBE
    slope, dark, light = pixels[:, 0, pixels.shape[2] // 2].float()
    share = (slope - dark) / (light - dark)
    return float(share[-1] - share[0]) + 1 / len(share), len(share)


def _views(picture: np.ndarray, seen: float, width: int) -> Iterator[Image.Image]:
    """The picture uint8 [H, W, 3] as it is, of whose middle the network sees a share as `width` pixels, and squares that show
    all of it. Of a strip longer than LONGEST squares there are only these, reduced."""
    image = Image.fromarray(picture)
    if max(image.size) <= LONGEST * min(image.size):
        yield image
    else:
        scale = min(1.0, 2 * LONGEST * width / max(image.size))
        image = image.resize([max(1, round(s * scale)) for s in image.size], Image.Resampling.BICUBIC)
    side, places = squares(image.height, image.width)
    border = round(side * (1 / min(seen, 1.0) - 1) / 2)  # what the preprocessor cuts off
    if image.width == image.height and not border:
        return
    for top, left in places:
        part = image.crop((left, top, min(image.width, left + side), min(image.height, top + side)))
        square = Image.new("RGB", (side + 2 * border,) * 2)
        square.paste(part, ((square.width - part.width) // 2, (square.height - part.height) // 2))
        yield square


def unsafe_among(labels: list[str], chosen: Iterable[str], folder: Path) -> list[str]:
    """Those of a classifier's labels that make a picture unsafe: the chosen ones, or those whose names say so.

    Raises UnsafeLabelsError when a chosen label isn't there, and when a name says neither: taking it for safe would let pass
    what it stands for.
    """
    plain = {" ".join(label.lower().replace("-", " ").replace("_", " ").split()): label for label in labels}
    chosen = [" ".join(label.lower().replace("-", " ").replace("_", " ").split()) for label in chosen]
    listed = ", ".join(labels)
    if unknown := [label for label in chosen if label not in plain]:
        raise UnsafeLabelsError(f"The classifier in {folder} has no label {', '.join(unknown)}. It has: {listed}.")
    if chosen:
        return [plain[label] for label in chosen]
    unclear = [label for name, label in plain.items() if name not in UNSAFE | SAFE]
    unsafe = [label for name, label in plain.items() if name in UNSAFE]
    if unclear or not unsafe:
        raise UnsafeLabelsError(f"It isn't clear which labels of the classifier in {folder} are unsafe. It has: {listed}.")
    return unsafe


def _try(processor: Any) -> None:
    """Raises, now and not at the first picture, where its settings don't work; ValueError where they hide the picture."""
    pixels = processor(images=[Image.new("RGB", (64, 64), colour) for colour in ("black", "white")], return_tensors="pt")
    black, white = pixels["pixel_values"]
    if torch.equal(black, white) or not (black.isfinite().all() and white.isfinite().all()):
        raise ValueError("preprocessor_config.json makes the same of black and of white, or no numbers")


def _is_timm(folder: Path) -> bool:
    """Whether the folder holds a model of the library timm, by its config.json."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and (config.get("model_type") == "timm_wrapper" or "pretrained_cfg" in config)


def _load(folder: Path) -> tuple[Any, Any]:
    """(image processor, model) with transformers' own classes. Raises BrokenCheckerError when it can't be done completely,
    MissingLibraryError without transformers or, for a model of timm, without that."""
    try:
        from transformers import AutoImageProcessor, AutoModelForImageClassification
    except ImportError as error:
        raise MissingLibraryError(f"Image classifiers need transformers, but importing it fails: {error}.") from error
    if _is_timm(folder) and importlib.util.find_spec("timm") is None:  # transformers would speak of anything but timm
        raise MissingLibraryError(f"The image classifier in {folder} needs the Python library timm, which isn't installed.")
    _require_modest(folder)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoImageProcessor.from_pretrained(folder, **local)
        _try(processor)
        model, info = AutoModelForImageClassification.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **local
        )
    except Exception as error:  # what transformers raises has no common type
        raise BrokenCheckerError(
            f"The image classifier in {folder} could not be loaded ({type(error).__name__}: {error}). It needs config.json, "
            "preprocessor_config.json and model.safetensors as published."
        ) from error
    # transformers would fill in random numbers.
    if lacking := sorted(str(key) for key in [*info["missing_keys"], *info["mismatched_keys"]]):
        raise BrokenCheckerError(f"model.safetensors in {folder} lacks {', '.join(lacking[:3])}.")
    return processor, model


def _require_modest(folder: Path) -> None:
    """Raises BrokenCheckerError when the configuration asks for pictures, layers or widths that the weights don't explain: a
    few digits there would take all memory before anything is compared. What can't be read is left for transformers to say."""
    files = folder.glob("model*.safetensors")
    shapes = [shape for file in files for shape in (_read(safetensors_header.shapes, file) or {}).values()]
    if not shapes:
        return
    most = max([len(shapes), *(size for shape in shapes for size in shape)])
    for name, pictures in CONFIGS.items():
        for key, value in _sizes(_read(lambda path: json.loads(path.read_text(encoding="utf-8")), folder / name)):
            limit = MAX_SIDE if key in pictures or not pictures else most
            if value > limit:
                raise BrokenCheckerError(f"{folder / name} asks for a {key} of {value}; {limit} is the most that can be right.")


def _read(read: Callable[[Path], Any], path: Path) -> Any:
    """What is in the file; None where it can't be read."""
    try:
        return read(path)
    except (OSError, ValueError, RecursionError):
        return None


def _sizes(config: object, name: str = "") -> Iterator[tuple[str, int]]:
    """(name, number) of all that a configuration says of sizes, however deep."""
    if isinstance(config, dict):
        for key, value in config.items():
            sized = name or (key if key.endswith(SIZED) and key != "vocab_size" else "")
            yield from _sizes(value, sized)
    elif isinstance(config, list):
        for value in config:
            yield from _sizes(value, name)
    elif name and isinstance(config, int | float) and not isinstance(config, bool):
        yield name, int(min(config, 1 << 62))

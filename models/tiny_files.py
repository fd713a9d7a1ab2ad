"""The small model that ships with the pack: where its files are, and whether they are whole.

Its folders are named as those that the published models are kept in.
"""

from pathlib import Path

from ..errors import TinyFilesError

TINY = Path(__file__).parent / "tiny"
CHECKPOINT = "checkpoints/tiny"  # a diffusers folder
UNET = f"{CHECKPOINT}/unet/diffusion_pytorch_model.safetensors"
UNET_CONFIG = f"{CHECKPOINT}/unet/config.json"
VAE = f"{CHECKPOINT}/vae/diffusion_pytorch_model.safetensors"
VAE_CONFIG = f"{CHECKPOINT}/vae/config.json"
TEXT_ENCODER = f"{CHECKPOINT}/text_encoder/model.safetensors"
TEXT_CONFIG = f"{CHECKPOINT}/text_encoder/config.json"
TOKENIZER = f"{CHECKPOINT}/tokenizer"
TOKENIZER_FILES = tuple(
    f"{TOKENIZER}/{name}" for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
)
SCHEDULER = f"{CHECKPOINT}/scheduler/scheduler_config.json"
FACEID = "ipadapter/ip-adapter-faceid-plusv2_tiny.safetensors"
CLIP_VISION = "clip_vision/tiny.safetensors"
CLIP_VISION_CONFIG = "clip_vision/config.json"
FACE_PACK = "insightface/models/tiny"
DETECTOR = f"{FACE_PACK}/det_tiny.onnx"
RECOGNISER = f"{FACE_PACK}/w_tiny.onnx"
DRAWN_FACE = "drawn_face.png"  # somebody whom the model never saw, for the demo
FILES = (
    f"{CHECKPOINT}/model_index.json",
    UNET,
    UNET_CONFIG,
    VAE,
    VAE_CONFIG,
    TEXT_ENCODER,
    TEXT_CONFIG,
    *TOKENIZER_FILES,
    SCHEDULER,
    FACEID,
    CLIP_VISION,
    CLIP_VISION_CONFIG,
    DETECTOR,
    RECOGNISER,
    DRAWN_FACE,
)


def require_tiny_files() -> Path:
    """The folder. Raises TinyFilesError, which names each file that is missing, unless all are there."""
    missing = [name for name in FILES if not (TINY / name).is_file()]
    if missing:
        raise TinyFilesError(f"The tiny model's folder {TINY} lacks {', '.join(missing)}.")
    return TINY


def unusable(file: Path, why: object) -> TinyFilesError:
    """The error about a file that is there, and is cut short or another one."""
    reason = next((line.strip() for line in str(why).splitlines() if line.strip()), type(why).__name__)
    return TinyFilesError(f"The tiny model's file {file} is damaged or not the pack's own ({reason.rstrip('. ')}).")

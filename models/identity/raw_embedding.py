"""The projection of methods that read the recogniser's embedding as it comes: learnt latents look at it through a resampler.

FaceID's portrait-unnorm and InstantID have it with the same names and shapes, for embeddings of different recognisers. Which of
the two a file is can be seen in the published forms and in converted ones; otherwise whoever opens it has to know.
"""

from collections.abc import Mapping

from torch import Tensor

from .adapter_file import AdapterFile
from .resampler import Weights, missing_tensors, resample, resampler_modules, resampler_shapes
from .shapes import IDENTITY_DIM, Shapes
from .variant import VARIANT_NOTE

ROOT = "image_proj"
LATENTS = f"{ROOT}.latents"  # what the resampler starts from
INSTANTID = "instantid"
INSTANTID_SIZE = 1_691_134_141  # bytes of the published ip-adapter.bin
KEY = "ip_adapter.1.to_k_ip.weight"


def raw_missing(names: Mapping[str, object]) -> list[str]:
    """Tensors that the projection reads and `names` lacks."""
    return [name for name in (LATENTS,) if name not in names] + missing_tensors(names, resampler_modules(names, ROOT))


def raw_shapes(shapes: Shapes) -> None:
    """Checks the shapes of what the projection reads."""
    shapes.norm(f"{ROOT}.norm_out", "context")
    shapes.need(LATENTS, 1, "tokens", "inner")
    resampler_shapes(shapes, ROOT, "inner", IDENTITY_DIM)


def raw_tokens(w: Weights, identity: Tensor) -> Tensor:
    """[n, 512], not normalised -> [n, tokens, context_dim]."""
    return resample(w, ROOT, w[LATENTS].float().expand(len(identity), -1, -1), identity[:, None])


def is_instantid(file: AdapterFile) -> bool | None:
    """Whether a file is InstantID, and not portrait-unnorm; None where it has the layout of both and nothing tells.

    A converted file says so itself. Of the published ones, portrait-unnorm holds its projection in float32 beside keys and
    values in float16; InstantID's is known by its size.
    """
    if LATENTS not in file:
        return False
    if VARIANT_NOTE in file.metadata:
        return file.metadata[VARIANT_NOTE].startswith(INSTANTID)
    if KEY in file and file[LATENTS].dtype != file[KEY].dtype:
        return False
    return True if file.path.stat().st_size == INSTANTID_SIZE else None

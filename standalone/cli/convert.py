"""`models convert`: a .bin of FaceID or InstantID to its .safetensors twin, which loads without a pickle, memory-mapped."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ...atomic_write import atomic_path
from ...errors import FaceGenError
from ...models.identity.adapter_file import AdapterFile
from ...models.identity.faceid.variant import PLUS_V1, FaceIDVariant
from ...models.identity.faceid.variant import recognise as recognise_faceid
from ...models.identity.instantid.adapter import recognise as recognise_instantid
from ...models.identity.raw_embedding import is_instantid
from ...models.identity.variant import VARIANT_NOTE, Variant


def convert(source: Path, out: Path | None = None, plus_v1: bool = False, instantid: bool = False) -> tuple[Path, str]:
    """Writes the twin; gives its path and the variant's name. Nothing half-written stays.

    plus_v1, instantid: `source` is Plus v1, or InstantID, but not the published file, so that nothing in it says so.
    Raises FaceGenError when `source` is no such adapter, or when `out` is there already.
    """
    out = source.with_suffix(".safetensors") if out is None else out
    if out.exists():
        raise FaceGenError(f"{out} is there already. Delete it first, or give another name with --out.")
    file = AdapterFile(source)
    variant: Variant = recognise_instantid(file) if instantid or is_instantid(file) else recognise_faceid(file)
    name = variant.name
    if plus_v1:
        if not isinstance(variant, FaceIDVariant) or variant.clip_dim is None or variant.context_dim != 768:
            raise FaceGenError(f"{source} is {name}. --plus-v1 is for files that look like faceid-plusv2_sd15.")
        name = PLUS_V1
    # Tensors of one storage would be refused.
    tensors = {key: file[key].clone(memory_format=torch.contiguous_format) for key in file}
    try:
        with atomic_path(out) as part:
            save_file(tensors, part, metadata={VARIANT_NOTE: name})
            part.chmod(source.stat().st_mode & 0o777)  # for whoever may read the original
    except (OSError, SafetensorError) as error:
        raise FaceGenError(f"Can't write {out}: {error}. Give another place with --out.") from error
    return out, name

"""Files of all methods whose shapes are right and whose numbers aren't: refused, as their pictures would be black or noise."""

from pathlib import Path

import pytest
import torch

from facegen.errors import NotAnAdapterError, UnreadableFileError
from facegen.models.identity.adapter_file import _flatten
from facegen.models.identity.blocks import CrossAttention
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from facegen.models.identity.instantid.adapter import InstantIDAdapter
from facegen.models.identity.pulid.adapter import PulidAdapter
from faceid_files import faceid_state, random_faces
from pulid_files import flux_state, sdxl_state, seen_faces

WIDTHS = [64, 128]
BLOCKS = [CrossAttention((i,), f"block.{i}", width, 2, i) for i, width in enumerate(WIDTHS)]
TRAINED_ON = {"recogniser": "glintr100", "model_pack": "antelopev2"}
OF_INSTANTID = {"rank": 0, "unnorm": True, "depth": 2, "inner": 128}


def instantid_faces():
    return random_faces(1, clip=None, faces=(TRAINED_ON,))


CASES = {
    "FaceID": (
        FaceIDAdapter,
        lambda: faceid_state(WIDTHS, 96, None, rank=4),
        lambda: random_faces(1, clip=None),
        "image_proj.proj.0.weight",
    ),
    "FaceID's LoRA": (
        FaceIDAdapter,
        lambda: faceid_state(WIDTHS, 96, None, rank=4),
        lambda: random_faces(1, clip=None),
        "ip_adapter.0.to_q_lora.down.weight",
    ),
    "InstantID": (InstantIDAdapter, lambda: faceid_state(WIDTHS, 96, **OF_INSTANTID), instantid_faces, "image_proj.latents"),
    "keys": (
        InstantIDAdapter,
        lambda: faceid_state(WIDTHS, 96, **OF_INSTANTID),
        instantid_faces,
        "ip_adapter.3.to_k_ip.weight",
    ),
    "PuLID": (PulidAdapter, lambda: sdxl_state(WIDTHS, depth=5), seen_faces, "id_adapter.latents"),
    "PuLID v1": (PulidAdapter, lambda: sdxl_state(WIDTHS, v1=True), seen_faces, "id_adapter.body.0.weight"),
    "PuLID's layers": (PulidAdapter, lambda: flux_state(2, depth=5), seen_faces, "pulid_ca.1.to_out.weight"),
}
ENDINGS = pytest.mark.parametrize("ending", ["safetensors", "bin"])


def write(state, path: Path) -> Path:
    if path.suffix == ".bin":
        torch.save(state, path)
        return path
    from safetensors.torch import save_file

    save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    return path


def use(adapter, faces):
    """All that is made of the file."""
    adapter.keys_values(faces)
    if isinstance(adapter, FaceIDAdapter):
        adapter.lora(BLOCKS)
    elif isinstance(adapter, PulidAdapter) and adapter.variant.flux:
        adapter.picture_layers()


@ENDINGS
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_values(tmp_path, case, value, ending):
    cls, state, faces, name = CASES[case]
    tensors = dict(_flatten(state()))
    use(cls(write(tensors, tmp_path / f"whole.{ending}")), faces())
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[-1] = value
    path = write(tensors, tmp_path / f"damaged.{ending}")
    with pytest.raises(UnreadableFileError, match=r"damaged.* holds NaN or infinite values"):
        use(cls(path), faces())


@ENDINGS
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_numbers_of_another_kind(tmp_path, case, dtype, ending):
    """Such as those of a quantised file, which mean nothing without their scales."""
    cls, state, _, name = CASES[case]
    tensors = dict(_flatten(state()))
    tensors[name] = tensors[name].to(dtype)
    with pytest.raises(NotAnAdapterError, match="needed floating-point ones"):
        cls(write(tensors, tmp_path / f"odd.{ending}"))


def test_large_finite_numbers_are_taken(tmp_path):
    tensors = dict(_flatten(faceid_state(WIDTHS, 96, None, rank=4)))
    name = "ip_adapter.0.to_q_lora.down.weight"
    tensors[name] = torch.full_like(tensors[name], 3e38)
    FaceIDAdapter(write(tensors, tmp_path / "large.safetensors")).lora(BLOCKS)


@pytest.mark.parametrize("name", ["image_proj.layers.99999999.0.norm1.weight", f"image_proj.layers.{'9' * 5000}.1.0.bias"])
def test_a_layer_s_number_may_be_any(tmp_path, name):
    """What is looked for is as much as the file has, whatever it calls that."""
    tensors = dict(_flatten(faceid_state(WIDTHS, 96, **OF_INSTANTID))) | {name: torch.zeros(2)}
    with pytest.raises(NotAnAdapterError, match=r"lacks image_proj\.layers\.2\."):
        InstantIDAdapter(write(tensors, tmp_path / "odd.safetensors"))

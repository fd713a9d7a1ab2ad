"""Which of the published PuLID files a file is: told by the names and shapes of its tensors, not by its name.

Source of the layouts: https://github.com/ToTheBeginning/PuLID and the files of guozinan/PuLID.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..adapter_file import AdapterFile
from ..keys_values import IP_ADAPTER, Matrices, count_blocks, matrix_names
from ..resampler import HEAD_DIM
from ..shapes import IDENTITY_DIM, Dim, Shapes
from ..variant import Variant, base_name, not_an_adapter, require_present, require_shapes
from . import cross_attention
from .encoder import LINEARS, NORMS, count_layers

METHOD = "PuLID"
SDXL_ROOT, FLUX_ROOT = "id_adapter", "pulid_encoder"  # where the encoder's tensors begin
MATRICES = Matrices("id_adapter_attn_layers.{}.id_to_k.weight", "id_adapter_attn_layers.{}.id_to_v.weight")
RENAMED_ROOT = "image_proj"  # of v1 with IP-Adapter's names, as it was published for ComfyUI (huchenlei/ipadapter_pulid)
SCALES = 5  # hidden states of the vision tower that the encoders read
EXPECTED = (
    "A PuLID file has id_adapter.latents (v1.1) or id_adapter.body.0.weight (v1), and id_adapter_attn_layers.1.id_to_k.weight, "
    "for SDXL; or pulid_encoder.latents and pulid_ca.0.to_q.weight for FLUX.1"
)
TWICE = "twice the "  # of a size whose half has that name
Layout = Iterator[tuple[str, tuple[Dim, ...]]]


@dataclass(frozen=True)
class PulidVariant(Variant):
    """The kind of a PuLID file, such as "pulid_v1.1". The files of FLUX.1's versions can't be told apart: "pulid_flux".

    root            where its encoder's tensors begin.
    flux            it was made for FLUX.1, not for SDXL.
    transformer     its encoder is IDFormer; False: the first version's.
    pooled, states  widths of the vision tower's output and hidden states that it reads.
    """

    root: str
    flux: bool
    transformer: bool
    pooled: int
    states: int

    @property
    def base(self) -> str:
        """The base model that it was made for, in words."""
        return "FLUX.1" if self.flux else base_name(self.context_dim)


def recognise(file: AdapterFile) -> PulidVariant:
    """Which kind the file is. Raises NotAnAdapterError, with what was expected and what was found, for any other file."""
    root = next((root for root in (FLUX_ROOT, SDXL_ROOT) if any(name.startswith(f"{root}.") for name in file)), None)
    if root is None and f"{RENAMED_ROOT}.body.0.weight" in file:
        root = RENAMED_ROOT
    if root is None:
        raise not_an_adapter(file, METHOD, "has neither of PuLID's encoders", EXPECTED)
    flux = root == FLUX_ROOT
    transformer = flux or f"{root}.body.0.weight" not in file
    encoder = _idformer(file, root) if transformer else _first_encoder(root)
    layout = [*encoder, *(_layers(file) if flux else _blocks(file, matrices_of(root)))]
    require_present(file, METHOD, [name for name, _ in layout if name not in file], EXPECTED)
    shapes = Shapes(file)
    for name, dims in layout:
        shapes.need(name, *dims)
    require_shapes(file, METHOD, shapes.wrong or _wrong_counts(file, root, shapes.sizes), EXPECTED)
    sizes = shapes.sizes
    return PulidVariant(
        "pulid_flux" if flux else "pulid_v1.1" if transformer else "pulid_v1",
        sizes["context"],
        sizes["queries"] if transformer else sizes["identity tokens"] // sizes["context"] + SCALES,
        root,
        flux,
        transformer,
        pooled=sizes["identity and output"] - IDENTITY_DIM,
        states=sizes["states"],
    )


def _idformer(file: AdapterFile, root: str) -> Layout:
    yield f"{root}.latents", (1, "queries", "inner")
    yield f"{root}.proj_out", ("inner", "context")
    yield from _mapping(f"{root}.id_embedding_mapping", "identity and output", "identity tokens")
    for scale in range(SCALES):
        yield from _mapping(f"{root}.mapping_{scale}", "states", "inner")
    for layer in range(max(SCALES, count_layers(file, root))):
        attention, feed_forward = f"{root}.layers.{layer}.0", f"{root}.layers.{layer}.1"
        heads, hidden = f"heads of layer {layer}", f"hidden of layer {layer}"
        yield from _norm(f"{attention}.norm1", "inner")
        yield from _norm(f"{attention}.norm2", "inner")
        yield f"{attention}.to_q.weight", (heads, "inner")
        yield f"{attention}.to_kv.weight", (TWICE + heads, "inner")
        yield f"{attention}.to_out.weight", ("inner", heads)
        yield from _norm(f"{feed_forward}.0", "inner")
        yield f"{feed_forward}.1.weight", (hidden, "inner")
        yield f"{feed_forward}.3.weight", ("inner", hidden)


def _first_encoder(root: str) -> Layout:
    yield from _mapping(f"{root}.body", "identity and output", "identity tokens")
    for scale in range(SCALES):
        yield from _mapping(f"{root}.mapping_{scale}", "states", "context")
        yield from _mapping(f"{root}.mapping_patch_{scale}", "states", "context")


def _mapping(name: str, into: Dim, out: Dim) -> Layout:
    width = f"width of {name}"
    for place, dims in zip(LINEARS, ((width, into), (width, width), (out, width)), strict=True):
        yield f"{name}.{place}.weight", dims
        yield f"{name}.{place}.bias", dims[:1]
    for place in NORMS:
        yield from _norm(f"{name}.{place}", width)


def _norm(name: str, dim: Dim) -> Layout:
    yield f"{name}.weight", (dim,)
    yield f"{name}.bias", (dim,)


def matrices_of(root: str) -> Matrices:
    """What the matrices for keys and values are called beside an encoder at `root`."""
    return IP_ADAPTER if root == RENAMED_ROOT else MATRICES


def _blocks(file: AdapterFile, matrices: Matrices) -> Layout:
    for number, name in enumerate(matrix_names(max(1, count_blocks(file, matrices)), matrices)):
        yield name, (f"width of block {number // 2}", "context")


def _layers(file: AdapterFile) -> Layout:
    for layer in range(max(1, cross_attention.count(file))):
        name = f"{cross_attention.ROOT}.{layer}"
        yield from _norm(f"{name}.norm1", "context")
        yield from _norm(f"{name}.norm2", "width")
        yield f"{name}.to_q.weight", ("heads", "width")
        yield f"{name}.to_kv.weight", (TWICE + "heads", "context")
        yield f"{name}.to_out.weight", ("width", "heads")


def _wrong_counts(file: AdapterFile, root: str, sizes: dict[str, int]) -> list[str]:
    """What doesn't fit, in words, where each tensor by itself does."""
    wrong = []
    for name, size in sizes.items():
        half = sizes.get(name.removeprefix(TWICE)) if name.startswith(TWICE) else None
        if half is not None and size != 2 * half:
            wrong.append(f"keys and values of {size} channels, needed {2 * half}")
        if name.startswith("heads") and size % (cross_attention.HEAD_DIM if name == "heads" else HEAD_DIM):
            wrong.append(f"queries of {size} channels, no whole heads")
    if sizes["identity and output"] <= IDENTITY_DIM:
        wrong.append(f"an encoder that reads {sizes['identity and output']} numbers, needed more than {IDENTITY_DIM}")
    if sizes["identity tokens"] % sizes.get("inner", sizes["context"]):
        wrong.append(f"identity tokens of {sizes['identity tokens']} numbers, no whole tokens")
    if count_layers(file, root) % SCALES:
        wrong.append(f"{count_layers(file, root)} layers, needed a multiple of {SCALES}")
    return wrong

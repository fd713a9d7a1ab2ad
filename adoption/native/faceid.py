"""ComfyUI_IPAdapter_plus's FaceID nodes as the nodes of a new graph: Load FaceID, Embed Face, Apply FaceID."""

from dataclasses import dataclass
from typing import Any

from ...contract import FIELDS
from ..packs import ip_adapter
from ..packs.ip_adapter import (
    APPLIERS,
    FACEID_BATCH,
    IPADAPTER_INPUT,
    MODEL_LOADER,
    UNIFIED_LOADER,
    V_ONLY,
    WEIGHT_TYPES,
    as_faceid,
)
from ..packs.weight_types import Weight, block_weights, usual_places
from ..saved_graph import Node, SavedGraph, Source
from .making import ANALYZER, EMBED, Kinds, Made, Needs, Plan, provider, take_percent_range, within
from .nodes import NATIVE

LOADERS = UNIFIED_LOADER, MODEL_LOADER
NEEDS: Needs = {**{old: {} for old in LOADERS}, **{old: {IPADAPTER_INPUT: LOADERS} for old in APPLIERS}}
FACEID_FILE, APPLY = "FaceGenLoadFaceID", "FaceGenApplyFaceID"
# The old pack's combine_embeds -> Embed Face's combine, which has no other.
COMBINE = {"concat": "concat", "average": "average", "add": "average", "norm average": "average"}
HIGHEST = 3.0  # of Apply FaceID's weight


@dataclass
class Loaded:
    """Where the parts come from that an old loader gave: outputs of the new nodes, and the LoRA's strength."""

    faceid: Source
    lora_strength: float
    analysis: Source | None = None
    clip_vision: Source | None = None


def reasons(graph: SavedGraph, kinds: Kinds) -> list[str]:
    """Why these nodes can't become others, beside what holds for all methods."""
    appliers = [node for node, old in kinds.items() if old in APPLIERS]
    origins = [graph.traced(node, IPADAPTER_INPUT) for node in appliers]
    fed = {origin[0] for origin in origins if origin is not None}
    found = []
    for node, old in kinds.items():
        if old in LOADERS and node not in fed:
            found.append(f"{old.id} {node}: nothing that applies FaceID is connected to it")
        # Ours gives no model on, and no link leads from a subgraph's input straight to its output.
        if old is UNIFIED_LOADER and any(slot == 0 and to not in graph.nodes() for slot, to, _ in graph.reached(node)):
            found.append(f"{old.id} {node}: its model leaves the subgraph")
    return found


def make(graph: SavedGraph, plans: dict[Node, Plan], base: str | None, made: Made) -> None:
    """Change old nodes that belong together."""
    appliers = [plan for plan in plans.values() if plan.old in APPLIERS]
    base = base or _guessed_base(graph)
    loaded = {node: _load(graph, plan, base, made) for node, plan in plans.items() if plan.old in LOADERS}
    for plan in appliers:
        origin = plan.origins[IPADAPTER_INPUT]
        if origin is not None:
            plan.values = as_faceid(plan.old, plan.values)
            _apply(graph, plan, loaded[origin[0]], base, made)


def _guessed_base(graph: SavedGraph) -> str:
    """By the name of a checkpoint that the graph loads: names of SDXL's usually say so."""
    names = []
    for node in graph.nodes():
        if "Checkpoint" in graph.type(node) or "UNETLoader" in graph.type(node):
            names += [str(value).lower() for value in graph.texts(node)]
    return "sdxl" if any("xl" in name or "pony" in name or "illustrious" in name for name in names) else "sd15"


def _load(graph: SavedGraph, plan: Plan, base: str, made: Made) -> Loaded:
    node, values = plan.node, plan.values
    if plan.old is MODEL_LOADER:
        graph.become(node, FACEID_FILE)
        graph.set(node, {"faceid_file": values["ipadapter_file"]})
        made.done.append(f"{plan.who}: now {FACEID_FILE}")
        return Loaded((node, 0), 0.0)  # its graphs load the LoRA by a node of their own
    kind = ip_adapter.PRESETS.get(values["preset"], "faceid")
    graph.redirect((node, 0), graph.source(node, "model"))
    graph.redirect((node, 1), None)
    graph.become(node, FACEID_FILE)
    file = ip_adapter.published_file(kind, base) or ip_adapter.published_file(kind, ip_adapter.BASES[base == "sd15"])
    graph.set(node, {"faceid_file": file})
    analyzer = graph.add(ANALYZER, node)
    graph.set(analyzer, {"model_pack": ip_adapter.FACE_PACK, "provider": provider(plan)})
    loaded = Loaded((node, 0), float(values["lora_strength"]), (analyzer, 0))
    if kind in ip_adapter.READ_CLIP_VISION:
        loaded.clip_vision = (graph.add("CLIPVisionLoader", node), 0)
        graph.set(loaded.clip_vision[0], dict(NATIVE["CLIPVisionLoader"].values))
    made.done.append(f"{plan.who}: now {FACEID_FILE} and the loaders beside it")
    made.notes.append(
        f"{plan.who}: the preset {values['preset']!r} means {file}, as the model seems to be {base}. If your files have "
        "other names, choose them in the loaders."
    )
    return loaded


def _apply(graph: SavedGraph, plan: Plan, parts: Loaded, base: str, made: Made) -> None:
    node, per_image = plan.node, plan.old is FACEID_BATCH or plan.values.get("unfold_batch", False)
    embed = graph.add(EMBED, node)
    if len(plan.old.outputs) > 1:
        graph.redirect((node, 1), (embed, 1))
    model = graph.source(node, "model")  # by now that before an old loader
    graph.become(node, APPLY)
    graph.set(embed, {"combine": "one per image" if per_image else COMBINE.get(plan.values["combine_embeds"], "concat")})
    analysis = plan.sources.get(ip_adapter.INSIGHTFACE_INPUT) or parts.analysis
    graph.wire(embed, "face_analysis", analysis)
    graph.wire(embed, "image", plan.sources["image"])
    graph.wire(embed, "clip_vision", plan.sources.get("clip_vision") or parts.clip_vision)
    graph.wire(node, "model", model)
    graph.wire(node, "faceid", parts.faceid)
    graph.wire(node, "face_embeds", (embed, 0))
    graph.wire(node, "mask", plan.sources["attn_mask"])
    take_percent_range(graph, plan)
    graph.set(node, {"lora_strength": parts.lora_strength, **_strengths(plan, base, made)})
    if analysis is None:
        made.notes.append(f"{plan.who}: it has no face analysis. Connect a Load Face Analyzer node to Embed Face.")
    made.done.append(f"{plan.who}: now {EMBED} {embed} and {APPLY}")
    made.notes += [f"{plan.who}: {note}" for note in _not_expressed(plan, per_image)]


def _strengths(plan: Plan, base: str, made: Made) -> dict[str, Any]:
    """Weight, s_scale and layer weights of Apply FaceID, as far as its ranges go."""
    wanted, limits = float(plan.values["weight"]), FIELDS["s_scale"]
    weight = within(plan, "weight", wanted, 0.0, HIGHEST, made)
    structure = float(plan.values["weight_faceidv2"])
    s_scale = within(plan, "s_scale", structure, limits.minimum or 0.0, limits.maximum or structure, made)
    return {"weight": weight, "s_scale": s_scale, "layer_weights": layer_weights(plan.values["weight_type"], weight, base)}


def layer_weights(weight_type: str, weight: float, base: str) -> str:
    """The weight type as Apply FaceID's layer_weights, "0-3:1, 4:0.25": shares of `weight`, 0 where sides are swapped."""
    if weight_type not in WEIGHT_TYPES or weight_type == "linear" or weight == 0:
        return ""
    shares = [_share(one, weight) for one in block_weights(weight_type, weight, base, usual_places(base))]
    runs: list[tuple[int, int, str]] = []
    for block, share in enumerate(shares):
        if runs and runs[-1][2] == share:
            runs[-1] = (runs[-1][0], block, share)
        else:
            runs.append((block, block, share))
    return ", ".join(f"{first}:{share}" if first == last else f"{first}-{last}:{share}" for first, last, share in runs)


def _share(one: Weight, weight: float) -> str:
    return "0" if one.swapped else f"{one.weight / weight:.6f}".rstrip("0").rstrip(".")


def _not_expressed(plan: Plan, per_image: bool) -> list[str]:
    values, notes = plan.values, []
    if values["weight_type"].endswith("precise"):
        notes.append(
            f"weight_type {values['weight_type']!r} also pushes the rest away. Apply FaceID can't, so that rest is left out."
        )
    if values["embeds_scaling"] != V_ONLY and float(values["weight"]) != 1:
        notes.append(f"embeds_scaling {values['embeds_scaling']!r} is left out: Apply FaceID weighs as {V_ONLY!r} does.")
    if values["combine_embeds"] not in ("concat", "average") and not per_image:
        notes.append(f"combine_embeds {values['combine_embeds']!r} is now {COMBINE.get(values['combine_embeds'], 'concat')!r}.")
    if plan.sources.get("image_negative") is not None:
        notes.append("image_negative is left out.")
    if values.get("noise"):
        notes.append(f"noise {values['noise']:g} is left out: the published method has zeros there.")
    return notes

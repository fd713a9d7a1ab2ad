"""ComfyUI_IPAdapter_plus's FaceID nodes as the nodes of a new graph: Load FaceID, Embed Face, Apply FaceID."""

from dataclasses import dataclass, field
from typing import Any

from ..contract import FIELDS
from . import ip_adapter
from .ip_adapter import ADVANCED, FACEID, FACEID_BATCH, INSIGHTFACE_LOADER, MODEL_LOADER, UNIFIED_LOADER, V_ONLY, WEIGHT_TYPES
from .native_nodes import NATIVE
from .old_nodes import OldNode
from .saved_graph import Node, SavedGraph, Source
from .weight_types import Weight, block_weights, usual_places

LOADERS, APPLIERS = (UNIFIED_LOADER, MODEL_LOADER), (FACEID, FACEID_BATCH, ADVANCED)
ANALYZER, FACEID_FILE, EMBED, APPLY = "FaceGenLoadFaceAnalyzer", "FaceGenLoadFaceID", "FaceGenEmbedFace", "FaceGenApplyFaceID"
# The old pack's combine_embeds -> Embed Face's combine, which has no other.
COMBINE = {"concat": "concat", "average": "average", "add": "average", "norm average": "average"}
PROVIDERS = {"CPU": "CPU"}  # others are left to `auto`, which takes what is installed
HIGHEST = 3.0  # of Apply FaceID's weight


@dataclass
class Made:
    """What was made, and what differs from the old nodes, in sentences."""

    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Loaded:
    """Where the parts come from that an old loader gave: outputs of the new nodes, and the LoRA's strength."""

    faceid: Source
    lora_strength: float
    analysis: Source | None = None
    clip_vision: Source | None = None


def make_native(graph: SavedGraph, adopted: dict[Node, OldNode], base: str | None) -> Made:
    """Changes the adopted nodes that can be expressed so; the others are left as they are, with the reason in the notes."""
    made = Made()
    kinds = {node: old for node, old in adopted.items() if old in (*LOADERS, *APPLIERS, INSIGHTFACE_LOADER)}
    appliers = [node for node, old in kinds.items() if old in APPLIERS]
    origins = {node: graph.traced(node, ip_adapter.IPADAPTER_INPUT) for node in appliers}
    if stays := _stays(graph, kinds, origins):
        made.notes += stays
        return made
    plans = {node: _plan(graph, node, kinds[node]) for node in appliers}
    base = base or _guessed_base(graph)
    loaded = {node: _load(graph, node, old, base, made) for node, old in kinds.items() if old in LOADERS}
    for node, old in kinds.items():
        if old is INSIGHTFACE_LOADER:
            _analyzer(graph, node, old, made)
    for node in appliers:
        origin = origins[node]
        if origin is not None:
            _apply(graph, node, kinds[node], plans[node], loaded[origin[0]], base, made)
    return made


def _stays(graph: SavedGraph, kinds: dict[Node, OldNode], origins: dict[Node, Source | None]) -> list[str]:
    """Why the nodes can't become others, if so: something is set by a link that has to be read here, or leads elsewhere."""
    reasons = []
    for node, origin in origins.items():
        if origin is None or kinds.get(origin[0]) not in LOADERS:
            reasons.append(f"{kinds[node].id} {node}: no loader of its pack is connected to ipadapter")
        read = [one.name for one in kinds[node].widgets if one.name not in ("start_at", "end_at")]
        reasons += _linked(graph, node, kinds[node], read)
    given = {node: old for node, old in kinds.items() if old not in APPLIERS}
    for node, old in given.items():
        reasons += _linked(graph, node, old, [one.name for one in old.widgets])
    for (giver, slot), target, name in graph.links():
        if giver in given and given[giver].outputs[slot].kind != "MODEL" and target not in kinds:
            reasons.append(f"{given[giver].id} {giver}: it is also connected to {graph.type(target)} {target} ({name})")
    return [f"{reason}. So it keeps its shape." for reason in reasons]


def _linked(graph: SavedGraph, node: Node, old: OldNode, names: list[str]) -> list[str]:
    return [f"{old.id} {node}: {name} comes from another node" for name in names if graph.source(node, name) is not None]


def _plan(graph: SavedGraph, node: Node, old: OldNode) -> dict[str, Any]:
    """The old node's values and sources, before anything is changed."""
    plan: dict[str, Any] = {one.name: graph.value(node, old, one.name) for one in old.widgets}
    return plan | {f"{one.name} from": graph.source(node, one.name) for one in old.inputs}


def _guessed_base(graph: SavedGraph) -> str:
    """By the name of a checkpoint that the graph loads: names of SDXL's usually say so."""
    names = []
    for node in graph.nodes():
        if "Checkpoint" in graph.type(node) or "UNETLoader" in graph.type(node):
            names += [str(value).lower() for value in graph.texts(node)]
    return "sdxl" if any("xl" in name or "pony" in name or "illustrious" in name for name in names) else "sd15"


def _load(graph: SavedGraph, node: Node, old: OldNode, base: str, made: Made) -> Loaded:
    if old is MODEL_LOADER:
        file = graph.value(node, old, "ipadapter_file")
        graph.become(node, FACEID_FILE)
        graph.set(node, {"faceid_file": file})
        made.done.append(f"{old.id} {node}: now {FACEID_FILE}")
        return Loaded((node, 0), 0.0)  # its graphs load the LoRA by a node of their own
    values = {one.name: graph.value(node, old, one.name) for one in old.widgets}
    kind = ip_adapter.PRESETS.get(values["preset"], "faceid")
    graph.redirect((node, 0), graph.source(node, "model"))
    graph.redirect((node, 1), None)
    graph.become(node, FACEID_FILE)
    file = ip_adapter.published_file(kind, base) or ip_adapter.published_file(kind, ip_adapter.BASES[base == "sd15"])
    graph.set(node, {"faceid_file": file})
    analyzer = graph.add(ANALYZER, node)
    graph.set(analyzer, {"model_pack": ip_adapter.FACE_PACK, "provider": PROVIDERS.get(values["provider"], "auto")})
    loaded = Loaded((node, 0), float(values["lora_strength"]), (analyzer, 0))
    if kind in ip_adapter.READ_CLIP_VISION:
        loaded.clip_vision = (graph.add("CLIPVisionLoader", node), 0)
        graph.set(loaded.clip_vision[0], dict(NATIVE["CLIPVisionLoader"].values))
    made.done.append(f"{old.id} {node}: now {FACEID_FILE} and the loaders beside it")
    made.notes.append(
        f"{old.id} {node}: the preset {values['preset']!r} means {file}, as the model seems to be {base}. If your files have "
        "other names, choose them in the loaders."
    )
    return loaded


def _analyzer(graph: SavedGraph, node: Node, old: OldNode, made: Made) -> None:
    provider, pack = (graph.value(node, old, name) for name in ("provider", "model_name"))
    graph.become(node, ANALYZER)
    graph.set(node, {"model_pack": pack, "provider": PROVIDERS.get(provider, "auto")})
    made.done.append(f"{old.id} {node}: now {ANALYZER}")


def _apply(graph: SavedGraph, node: Node, old: OldNode, plan: dict[str, Any], parts: Loaded, base: str, made: Made) -> None:
    who = f"{old.id} {node}"
    face_image = len(old.outputs) > 1
    embed = graph.add(EMBED, node)
    if face_image:
        graph.redirect((node, 1), (embed, 1))
    model = graph.source(node, "model")  # by now that before an old loader
    graph.become(node, APPLY)
    per_image = old is FACEID_BATCH
    graph.set(embed, {"combine": "one per image" if per_image else COMBINE.get(plan["combine_embeds"], "concat")})
    analysis = plan.get("insightface from") or parts.analysis
    graph.wire(embed, "face_analysis", analysis)
    graph.wire(embed, "image", plan["image from"])
    graph.wire(embed, "clip_vision", plan["clip_vision from"] or parts.clip_vision)
    graph.wire(node, "model", model)
    graph.wire(node, "faceid", parts.faceid)
    graph.wire(node, "face_embeds", (embed, 0))
    graph.wire(node, "mask", plan["attn_mask from"])
    for new, name in (("start_percent", "start_at"), ("end_percent", "end_at")):
        graph.set(node, {new: plan[name]})
        graph.wire(node, new, plan[f"{name} from"])
    graph.set(node, {"lora_strength": parts.lora_strength, **_strengths(who, plan, base, made)})
    if analysis is None:
        made.notes.append(f"{who}: it has no face analysis. Connect a Load Face Analyzer node to Embed Face.")
    made.done.append(f"{who}: now {EMBED} {embed} and {APPLY}")
    made.notes += [f"{who}: {note}" for note in _not_expressed(plan, per_image)]


def _strengths(who: str, plan: dict[str, Any], base: str, made: Made) -> dict[str, Any]:
    """Weight, s_scale and layer weights of Apply FaceID, as far as its ranges go."""
    wanted = float(plan["weight"])
    weight = min(max(wanted, 0.0), HIGHEST)
    if weight != wanted:
        made.notes.append(f"{who}: weight {wanted:g} is now {weight:g}, as Apply FaceID takes 0 to {HIGHEST:g}.")
    structure = float(plan.get("weight_faceidv2", 2 * wanted))  # twice the weight where the old node doesn't ask
    field_ = FIELDS["s_scale"]
    low, high = field_.minimum or 0.0, field_.maximum or structure
    s_scale = min(max(structure, low), high)
    if s_scale != structure:
        made.notes.append(f"{who}: s_scale {structure:g} is now {s_scale:g}, as Apply FaceID takes {low:g} to {high:g}.")
    return {"weight": weight, "s_scale": s_scale, "layer_weights": layer_weights(plan["weight_type"], weight, base)}


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


def _not_expressed(plan: dict[str, Any], per_image: bool) -> list[str]:
    notes = []
    if plan["weight_type"].endswith("precise"):
        notes.append(
            f"weight_type {plan['weight_type']!r} also pushes the rest away. Apply FaceID can't, so that rest is left out."
        )
    if plan["embeds_scaling"] != V_ONLY and float(plan["weight"]) != 1:
        notes.append(f"embeds_scaling {plan['embeds_scaling']!r} is left out: Apply FaceID weighs as {V_ONLY!r} does.")
    if plan["combine_embeds"] not in ("concat", "average") and not per_image:
        notes.append(f"combine_embeds {plan['combine_embeds']!r} is now {COMBINE.get(plan['combine_embeds'], 'concat')!r}.")
    if plan["image_negative from"] is not None:
        notes.append("image_negative is left out.")
    return notes

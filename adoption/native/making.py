"""What is common to old nodes that become the nodes of a new graph: whether they can, what they were set to, what is said."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..old_nodes import OldNode
from ..packs import instantid, ip_adapter, pulid
from ..saved_graph import Node, SavedGraph, Source

ANALYZER, EMBED = "FaceGenLoadFaceAnalyzer", "FaceGenEmbedFace"
PERCENT = {"start_percent": "start_at", "end_percent": "end_at"}  # ours -> the packs'
PROVIDERS = ("CPU",)  # others are left to `auto`, which takes what is installed
FREE = ("MODEL", "IMAGE", "CONDITIONING")  # outputs that whatever node may go on reading
NUMBERS = ("FLOAT", "INT")
# Loaders of a face analysis, and the model pack that they mean. Graphs give one pack's to another pack's nodes.
FACEANALYSIS_LOADERS = (instantid.ANALYSIS_LOADER, pulid.ANALYSIS_LOADER, pulid.FLUX_ANALYSIS_LOADER)
ANALYSES = {
    **dict.fromkeys(ip_adapter.INSIGHTFACE_LOADERS, ip_adapter.FACE_PACK),
    **dict.fromkeys(FACEANALYSIS_LOADERS, instantid.FACE_PACK),
}
Kinds = dict[Node, OldNode]
Needs = Mapping[OldNode, Mapping[str, Collection[OldNode]]]  # an old node's inputs -> the loaders that they must come from


@dataclass
class Made:
    """What was made, and what differs from the old nodes, in sentences."""

    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """An old node before anything is changed: what it is set to, and what its inputs are connected to; origins: through
    Reroutes."""

    node: Node
    old: OldNode
    values: dict[str, Any]
    sources: dict[str, Source | None]
    origins: dict[str, Source | None]

    @classmethod
    def of(cls, graph: SavedGraph, node: Node, old: OldNode) -> "Plan":
        """As the file has it, but what ties old nodes to each other without the Reroutes between them."""
        values = {one.name: graph.value(node, old, one.name) for one in old.widgets}
        origins = {one.name: graph.traced(node, one.name) for one in old.inputs}
        sources = {one.name: graph.source(node, one.name) if one.kind in FREE else origins[one.name] for one in old.inputs}
        return cls(node, old, values, sources, origins)

    @property
    def who(self) -> str:
        """The node, as one speaks of it."""
        return f"{self.old.id} {self.node}"


def reasons_to_stay(graph: SavedGraph, kinds: Kinds, needs: Needs) -> list[str]:
    """Why these nodes can't become others, if so: what they are set to isn't known, or something is connected elsewhere."""
    reasons = []
    for node, old in kinds.items():
        who = f"{old.id} {node}"
        if old not in needs:
            reasons.append(f"{who}: no node of a new graph does this alone")
        reasons += [f"{who}: {why}" for why in _unknown_values(graph, node, old)]
        for name, loaders in needs.get(old, {}).items():
            origin = graph.traced(node, name)
            if origin is None or kinds.get(origin[0]) not in loaders:
                reasons.append(f"{who}: no loader of its pack is connected to {name}")
        for slot, target, name in graph.reached(node):
            if old.outputs[slot].kind not in FREE and target not in kinds:
                where = f"{graph.type(target)} {target} ({name})" if name else graph.type(target)
                reasons.append(f"{who}: it is also connected to {where}")
    return reasons


def _unknown_values(graph: SavedGraph, node: Node, old: OldNode) -> list[str]:
    reasons = [f"{name} is set on the subgraph's node" for name in graph.set_outside(node)]
    for one in old.widgets:
        if graph.source(node, one.name) is not None:
            if one.name not in PERCENT.values():
                reasons.append(f"{one.name} comes from another node")
            continue
        value = graph.value(node, old, one.name)
        if isinstance(value, str):
            value = ip_adapter.EARLIER_NAMES.get(value, value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if (one.kind in NUMBERS and not is_number) or (one.options and value not in one.options):
            reasons.append(f"{one.name} is set to {value!r}, which isn't known here")
    return reasons


def make_analyzer(graph: SavedGraph, plan: Plan, made: Made) -> None:
    """A loader of InsightFace becomes ours."""
    graph.become(plan.node, ANALYZER)
    pack = plan.values.get("model_name") or ANALYSES[plan.old]
    graph.set(plan.node, {"model_pack": pack, "provider": provider(plan)})
    made.done.append(f"{plan.who}: now {ANALYZER}")


def provider(plan: Plan) -> str:
    """Ours for the old node's."""
    return plan.values["provider"] if plan.values["provider"] in PROVIDERS else "auto"


def take_percent_range(graph: SavedGraph, plan: Plan) -> None:
    """When the face acts, as numbers or as links."""
    for new, name in PERCENT.items():
        graph.set(plan.node, {new: plan.values[name]})
        graph.wire(plan.node, new, plan.sources[name])


def within(plan: Plan, name: str, value: float, low: float, high: float, made: Made) -> float:
    """The number, or the nearest that our node takes, with a note."""
    taken = min(max(value, low), high)
    if taken != value:
        made.notes.append(f"{plan.who}: {name} {value:g} is now {taken:g}, as our node takes {low:g} to {high:g}.")
    return taken

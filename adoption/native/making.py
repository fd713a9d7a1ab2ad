"""What is common to old nodes that become the nodes of a new graph: whether they can, what they were set to, what is said."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..old_nodes import OldNode
from ..saved_graph import Node, SavedGraph, Source

ANALYZER, EMBED = "FaceGenLoadFaceAnalyzer", "FaceGenEmbedFace"
PERCENT = {"start_percent": "start_at", "end_percent": "end_at"}  # ours -> the packs'
PROVIDERS = ("CPU",)  # others are left to `auto`, which takes what is installed
FREE = ("MODEL", "IMAGE", "CONDITIONING")  # outputs that whatever node may go on reading
Kinds = dict[Node, OldNode]
Needs = Mapping[OldNode, Mapping[str, Collection[OldNode]]]  # an old node's inputs -> the loaders that they must come from


@dataclass
class Made:
    """What was made, and what differs from the old nodes, in sentences."""

    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """An old node before anything is changed: what it is set to, and what its inputs are connected to."""

    node: Node
    old: OldNode
    values: dict[str, Any]
    sources: dict[str, Source | None]

    @classmethod
    def of(cls, graph: SavedGraph, node: Node, old: OldNode) -> "Plan":
        """As the file has it."""
        values = {one.name: graph.value(node, old, one.name) for one in old.widgets}
        return cls(node, old, values, {one.name: graph.source(node, one.name) for one in old.inputs})

    @property
    def who(self) -> str:
        """The node, as one speaks of it."""
        return f"{self.old.id} {self.node}"


def reasons_to_stay(graph: SavedGraph, kinds: Kinds, needs: Needs) -> list[str]:
    """Why these nodes can't become others, if so: a value comes from another node, or something is connected elsewhere."""
    reasons = []
    for node, old in kinds.items():
        who = f"{old.id} {node}"
        set_by_links = [one.name for one in old.widgets if one.name not in PERCENT.values()]
        reasons += [f"{who}: {name} comes from another node" for name in set_by_links if graph.source(node, name) is not None]
        for name, loaders in needs.get(old, {}).items():
            origin = graph.traced(node, name)
            if origin is None or kinds.get(origin[0]) not in loaders:
                reasons.append(f"{who}: no loader of its pack is connected to {name}")
    for (giver, slot), target, name in graph.links():
        if giver in kinds and kinds[giver].outputs[slot].kind not in FREE and target not in kinds:
            reasons.append(f"{kinds[giver].id} {giver}: it is also connected to {graph.type(target)} {target} ({name})")
    return [f"{reason}. So it keeps its shape." for reason in reasons]


def make_analyzer(graph: SavedGraph, plan: Plan, pack: str, made: Made) -> None:
    """A loader of InsightFace becomes ours."""
    graph.become(plan.node, ANALYZER)
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

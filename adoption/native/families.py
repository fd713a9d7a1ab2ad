"""Old nodes that belong together become the nodes of a new graph, all of them or none."""

from collections.abc import Iterable

from ..saved_graph import Node, SavedGraph
from . import faceid, instantid, pulid
from .making import ANALYSES, Kinds, Made, Needs, Plan, make_analyzer, reasons_to_stay

NEEDS: Needs = {**{old: {} for old in ANALYSES}, **faceid.NEEDS, **instantid.NEEDS, **pulid.NEEDS}


def make_native(graph: SavedGraph, families: Iterable[Kinds], base: str | None) -> Made:
    """Changes the families that can be expressed so; the others are left as they are, with the reasons in the notes."""
    made = Made()
    for kinds in families:
        if reasons := [*reasons_to_stay(graph, kinds, NEEDS), *faceid.reasons(graph, kinds)]:
            made.notes += [f"{reason}. So it keeps its shape." for reason in reasons]
            continue
        plans = {node: Plan.of(graph, node, old) for node, old in kinds.items()}
        between = _reroutes_between(graph, kinds)
        for method in (faceid, instantid, pulid):
            method.make(graph, plans, base, made)
        for plan in plans.values():
            if plan.old in ANALYSES:
                make_analyzer(graph, plan, made)
        graph.remove_idle_reroutes(between)
    return made


def _reroutes_between(graph: SavedGraph, kinds: Kinds) -> set[Node]:
    """Those on the ways between these nodes: their own inputs are connected directly afterwards."""
    found: set[Node] = set()
    for node, old in kinds.items():
        for one in old.inputs:
            source = graph.source(node, one.name)
            end = graph.traced(node, one.name)
            if end is None or end[0] not in kinds:
                continue
            while source is not None and source != end:
                found.add(source[0])
                source = graph.source(source[0], "")
    return found

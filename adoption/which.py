"""Which nodes of a saved graph are another pack's that ours can stand in for."""

from dataclasses import dataclass, field

from .old_nodes import OldNode
from .packs import instantid, ip_adapter, pulid
from .saved_graph import Node, SavedGraph

OLD = {node.id: node for node in (*ip_adapter.NODES, *instantid.NODES, *pulid.NODES)}
NOT_ADOPTED = {
    **dict.fromkeys(ip_adapter.NOT_ADOPTED, ip_adapter.PACK),
    **dict.fromkeys(pulid.NOT_ADOPTED, pulid.LL_PACK),
}  # other nodes for faces -> the pack that they need
TIES = {name for node in OLD.values() for name in node.ties}


@dataclass
class Found:
    """What of a graph is adopted, by the nodes' numbers.

    adopted   the old node that it is.
    left      why a node for faces stays as it is.
    families  the adopted ones again, in groups that hang together.
    """

    adopted: dict[Node, OldNode] = field(default_factory=dict)
    left: dict[Node, str] = field(default_factory=dict)
    families: list[dict[Node, OldNode]] = field(default_factory=list)


def find_old(graph: SavedGraph) -> Found:
    """The nodes to adopt. Nodes that are tied to one that can't be adopted are left, and so are those that no identity method
    is among."""
    found = Found()
    family, strange = _families(graph), _strange_inputs(graph)
    for node in graph.nodes():
        old = OLD.get(graph.type(node))
        if old is None:
            if pack := NOT_ADOPTED.get(graph.type(node)):
                found.left[node] = f"no node here stands in for it. It needs {pack}"
            continue
        relatives = family.get(node, {node})
        if why := _why_left(graph, node, old, relatives, strange):
            found.left[node] = why
            continue
        found.adopted[node] = old
        if not any(node in known for known in found.families):
            found.families.append({one: OLD[graph.type(one)] for one in graph.nodes() if one in relatives})
    return found


def _why_left(graph: SavedGraph, node: Node, old: OldNode, relatives: set[Node], strange: dict[Node, list[str]]) -> str:
    """Why an old node can't be adopted; "" where it can."""
    if names := strange.get(node):
        return f"it is of a release of {old.pack} that had {', '.join(names)}"
    if strangers := sorted({graph.type(one) for one in relatives if graph.type(one) not in OLD}):
        return f"it works together with {', '.join(strangers)}, which needs {old.pack}"
    if others := sorted({graph.type(one) for one in relatives if one in strange}):
        return f"it works together with {', '.join(others)}, which is of another release of {old.pack}"
    if all(OLD[graph.type(one)].shared and not _names_faceid(graph, one) for one in relatives):
        return f"its IP-Adapter doesn't seem to be FaceID, so that it needs {old.pack}"
    return ""


def _strange_inputs(graph: SavedGraph) -> dict[Node, list[str]]:
    """Old node -> its inputs that are connected, and that no node here has: those of another release."""
    strange: dict[Node, list[str]] = {}
    for _, node, name in graph.links():
        old = OLD.get(graph.type(node))
        if old is not None and name not in {one.name for one in old.inputs}:
            strange.setdefault(node, []).append(name)
    return strange


def _names_faceid(graph: SavedGraph, node: Node) -> bool:
    """Whether it opens a file that is called after FaceID."""
    old = ip_adapter.MODEL_LOADER
    if graph.type(node) != old.id:
        return False
    name = str(graph.value(node, old, "ipadapter_file")).lower()
    return "faceid" in name or "face-id" in name or "face_id" in name


def _families(graph: SavedGraph) -> dict[Node, set[Node]]:
    """Node -> all that hang together with it through the inputs that tie nodes of a kind, itself included."""
    families: dict[Node, set[Node]] = {}
    for _, node, name in graph.links():
        old = OLD.get(graph.type(node))
        # The unified loader has such an input, too, to share what is loaded already. It runs without.
        if name not in TIES or (old is not None and name not in old.ties):
            continue
        source = graph.traced(node, name)
        if source is None or source[0] not in graph.nodes():
            continue
        both = families.get(node, {node}) | families.get(source[0], {source[0]})
        for one in both:
            families[one] = both
    return families

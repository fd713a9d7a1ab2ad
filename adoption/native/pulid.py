"""The PuLID packs' nodes as the nodes of a new graph: Load PuLID, Load Face Structure, Embed Face, Apply PuLID."""

from ..packs import pulid
from ..packs.pulid import EXACTLY, FLUX_APPLY, FUSIONS, METHODS, PROJECTIONS
from ..saved_graph import Node, SavedGraph
from .making import EMBED, FACEANALYSIS_LOADERS, Made, Needs, Plan, take_percent_range, within

FILE, STRUCTURE, NEW_APPLY = "FaceGenLoadPuLID", "FaceGenLoadFaceStructure", "FaceGenApplyPuLID"
FILES, STRUCTURES = (pulid.MODEL_LOADER, pulid.FLUX_MODEL_LOADER), (pulid.EVA_LOADER, pulid.FLUX_EVA_LOADER)
FILE_INPUT = {pulid.APPLY: "pulid", pulid.APPLY_ADVANCED: "pulid", FLUX_APPLY: "pulid_flux"}
APPLIERS = tuple(FILE_INPUT)
NEEDS: Needs = {
    **{old: {} for old in (*FILES, *STRUCTURES)},
    **{old: {name: FILES, "eva_clip": STRUCTURES, "face_analysis": FACEANALYSIS_LOADERS} for old, name in FILE_INPUT.items()},
}
HIGHEST = 5.0  # of Apply PuLID's weight


def make(graph: SavedGraph, plans: dict[Node, Plan], base: str | None, made: Made) -> None:
    """Change old nodes that belong together."""
    for plan in plans.values():
        if plan.old in FILES:
            graph.become(plan.node, FILE)
            graph.set(plan.node, plan.values)
            made.done.append(f"{plan.who}: now {FILE}")
        elif plan.old in STRUCTURES:
            graph.become(plan.node, STRUCTURE)
            made.done.append(f"{plan.who}: now {STRUCTURE}")
    for plan in plans.values():
        if plan.old in APPLIERS:
            _apply(graph, plan, made)


def _apply(graph: SavedGraph, plan: Plan, made: Made) -> None:
    node, sources, values = plan.node, plan.sources, plan.values
    embed = graph.add(EMBED, node)
    graph.become(node, NEW_APPLY)
    graph.set(embed, {"combine": FUSIONS.get(values.get("fusion", EXACTLY[0]), "average"), "on_no_face": "skip"})
    for new, name in (("face_analysis", "face_analysis"), ("image", "image"), ("face_structure", "eva_clip")):
        graph.wire(embed, new, sources[name])
    graph.wire(node, "model", sources["model"])
    graph.wire(node, "pulid", sources[FILE_INPUT[plan.old]])
    graph.wire(node, "face_embeds", (embed, 0))
    graph.wire(node, "mask", sources["attn_mask"])
    take_percent_range(graph, plan)
    graph.set(node, {"weight": within(plan, "weight", float(values["weight"]), 0.0, HIGHEST, made)})
    if plan.old is not FLUX_APPLY:
        projection, zeros = METHODS[values["method"]] if "method" in values else (values["projection"], values["fidelity"])
        graph.set(node, {"projection": PROJECTIONS[projection], "num_zero": zeros})
    made.done.append(f"{plan.who}: now {EMBED} {embed} and {NEW_APPLY}")
    if values.get("noise"):
        made.notes.append(f"{plan.who}: noise {values['noise']:g} is left out.")
    if values.get("fusion", EXACTLY[0]) not in EXACTLY:
        made.notes.append(f"{plan.who}: fusion {values['fusion']!r} is now 'mean'.")
    if values.get("use_gray") is False:
        made.notes.append(f"{plan.who}: use_gray off is left out: PuLID reads the face in grey.")

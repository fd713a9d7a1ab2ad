"""The PuLID packs' nodes as the nodes of a new graph: Load PuLID, Load Face Structure, Embed Face, Apply PuLID."""

from ..packs import pulid
from ..packs.pulid import EXACTLY, FACE_PACK, FLUX_APPLY, FUSIONS, METHODS, PROJECTIONS
from ..saved_graph import SavedGraph
from .making import EMBED, Kinds, Made, Plan, make_analyzer, reasons_to_stay, take_percent_range, within

FILE, STRUCTURE, NEW_APPLY = "FaceGenLoadPuLID", "FaceGenLoadFaceStructure", "FaceGenApplyPuLID"
FILES, ANALYSES = (pulid.MODEL_LOADER, pulid.FLUX_MODEL_LOADER), (pulid.ANALYSIS_LOADER, pulid.FLUX_ANALYSIS_LOADER)
STRUCTURES = (pulid.EVA_LOADER, pulid.FLUX_EVA_LOADER)
APPLIERS = (pulid.APPLY, pulid.APPLY_ADVANCED, FLUX_APPLY)
HIGHEST = 5.0  # of Apply PuLID's weight


def make_native(graph: SavedGraph, adopted: Kinds, base: str | None) -> Made:
    """Changes the adopted nodes that can be expressed so; the others are left as they are, with the reason in the notes."""
    made = Made()
    kinds = {node: old for node, old in adopted.items() if old in (*FILES, *ANALYSES, *STRUCTURES, *APPLIERS)}
    needs = {old: {_pulid(old): FILES, "eva_clip": STRUCTURES, "face_analysis": ANALYSES} for old in APPLIERS}
    stays = reasons_to_stay(graph, kinds, needs)
    stays += [
        f"{old.id} {node}: its face is chosen by {pulid.FLUX_OPTIONS.id}. So it keeps its shape."
        for node, old in kinds.items()
        if old is FLUX_APPLY and graph.source(node, "options") is not None
    ]
    if stays:
        made.notes += stays
        return made
    plans = [Plan.of(graph, node, old) for node, old in kinds.items()]
    for plan in plans:
        if plan.old in FILES:
            graph.become(plan.node, FILE)
            graph.set(plan.node, plan.values)
            made.done.append(f"{plan.who}: now {FILE}")
        elif plan.old in STRUCTURES:
            graph.become(plan.node, STRUCTURE)
            made.done.append(f"{plan.who}: now {STRUCTURE}")
        elif plan.old in ANALYSES:
            make_analyzer(graph, plan, FACE_PACK, made)
    for plan in plans:
        if plan.old in APPLIERS:
            _apply(graph, plan, made)
    return made


def _pulid(old: object) -> str:
    return "pulid_flux" if old is FLUX_APPLY else "pulid"


def _apply(graph: SavedGraph, plan: Plan, made: Made) -> None:
    node, sources, values = plan.node, plan.sources, plan.values
    embed = graph.add(EMBED, node)
    graph.become(node, NEW_APPLY)
    graph.set(embed, {"combine": FUSIONS.get(values.get("fusion", EXACTLY[0]), "average"), "on_no_face": "skip"})
    for new, name in (("face_analysis", "face_analysis"), ("image", "image"), ("face_structure", "eva_clip")):
        graph.wire(embed, new, sources[name])
    graph.wire(node, "model", sources["model"])
    graph.wire(node, "pulid", sources[_pulid(plan.old)])
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

"""ComfyUI_InstantID's nodes as the nodes of a new graph: Load InstantID, Embed Face, Face Keypoints, Apply InstantID."""

from ..packs.instantid import (
    APPLY,
    APPLY_ADVANCED,
    AVERAGE,
    KEYPOINTS,
    MODEL_LOADER,
    NOISE,
    NORM_AVERAGE,
)
from ..saved_graph import Node, SavedGraph, Source
from .making import EMBED, FACEANALYSIS_LOADERS, Made, Needs, Plan, take_percent_range, within

FILE, POINTS, NEW_APPLY = "FaceGenLoadInstantID", "FaceGenFaceKeypoints", "FaceGenApplyInstantID"
APPLIERS = APPLY, APPLY_ADVANCED
NEEDS: Needs = {
    MODEL_LOADER: {},
    KEYPOINTS: {"faceanalysis": FACEANALYSIS_LOADERS},
    **{old: {"instantid": (MODEL_LOADER,), "insightface": FACEANALYSIS_LOADERS} for old in APPLIERS},
}
HIGHEST = {"weight": 3.0, "control_strength": 10.0}  # of Apply InstantID
USUAL = (1016, 1016)  # pixels, where the graph doesn't say


def make(graph: SavedGraph, plans: dict[Node, Plan], base: str | None, made: Made) -> None:
    """Change old nodes that belong together."""
    drawing = {plan.node for plan in plans.values() if plan.old is KEYPOINTS}
    for plan in plans.values():
        if plan.old is MODEL_LOADER:
            graph.become(plan.node, FILE)
            graph.set(plan.node, plan.values)
            made.done.append(f"{plan.who}: now {FILE}")
        elif plan.old is KEYPOINTS:
            graph.become(plan.node, POINTS)
            _points(graph, plan.node, plan.sources["faceanalysis"], plan.sources["image"])
            made.done.append(f"{plan.who}: now {POINTS}")
    for plan in plans.values():
        if plan.old in APPLIERS:
            _apply(graph, plan, drawing, made)


def _points(graph: SavedGraph, node: Node, analysis: Source | None, image: Source | None) -> None:
    width, height = graph.picture_size() or USUAL
    graph.set(node, {"width": width, "height": height})
    graph.wire(node, "image", image)
    graph.wire(node, "face_analysis", analysis)


def _apply(graph: SavedGraph, plan: Plan, drawing: set[Node], made: Made) -> None:
    node, sources, advanced = plan.node, plan.sources, plan.old is APPLY_ADVANCED
    embed = graph.add(EMBED, node)
    graph.become(node, NEW_APPLY)
    combine = plan.values.get("combine_embeds", AVERAGE)
    graph.set(embed, {"combine": "average" if combine == NORM_AVERAGE else combine, "on_no_face": "skip"})
    graph.wire(embed, "face_analysis", sources["insightface"])
    graph.wire(embed, "image", sources["image"])
    for name in ("model", "instantid", "positive", "negative", "control_net", "mask"):
        graph.wire(node, name, sources[name])
    graph.wire(node, "face_embeds", (embed, 0))
    hint, origin = sources["image_kps"], plan.origins["image_kps"]
    if hint is not None and (origin is None or origin[0] not in drawing):
        points = graph.add(POINTS, node)
        _points(graph, points, sources["insightface"], hint)
        hint = (points, 0)
    graph.wire(node, "keypoints", hint)
    take_percent_range(graph, plan)
    names = {"weight": "ip_weight", "control_strength": "cn_strength"} if advanced else dict.fromkeys(HIGHEST, "weight")
    strengths = {new: within(plan, new, float(plan.values[name]), 0.0, HIGHEST[new], made) for new, name in names.items()}
    graph.set(node, strengths)
    made.done.append(f"{plan.who}: now {EMBED} {embed} and {NEW_APPLY}")
    noise = float(plan.values.get("noise", NOISE))
    if noise:
        made.notes.append(f"{plan.who}: noise {noise:g} is left out: the published method has zeros there.")
    if sources["mask"] is not None:
        made.notes.append(f"{plan.who}: mask no longer keeps the prompt in its place, only the face.")
    if combine == NORM_AVERAGE:
        made.notes.append(f"{plan.who}: combine_embeds {combine!r} is now 'average'.")

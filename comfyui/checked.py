"""Whether what a workflow delivers was seen by a safety checker: read from the links of its graph."""

from typing import Any

from ..api.local.backend import BackendError
from .choices import CHECKER

Graph = dict[str, dict[str, Any]]
COMBINED, FILTER, SAMPLER = "FaceGenCombineSafetyCheckers", "FaceGenSafetyFilter", "FaceGenSampler"
RESULT = "PreviewImage"
CHECKED_BY = "safety_checker"  # the input of a sampler or a filter
# Nodes that show what they are given and make nothing of their own -> the input whose pictures their first output shows.
PASSING = {
    "ImageScale": "image",
    "ImageScaleBy": "image",
    "ImageScaleToTotalPixels": "image",
    "ImageScaleToMaxDimension": "image",
    "ImageUpscaleWithModel": "image",
    "ImageCrop": "image",
    "ImageFromBatch": "image",
    "ImageSharpen": "image",
    "ImageBlur": "image",
    "FaceGenLikeness": "image",
}


def require_checked(graph: Graph) -> None:
    """Raises BackendError unless a sampler or a filter with a safety checker makes what RESULT shows, and nothing between
    them makes anything new.
    """
    (link,) = (node["inputs"].get("images") for node in graph.values() if node["class_type"] == RESULT)
    maker = "nothing"
    for _ in graph:
        if not is_link(link) or link[0] not in graph:
            break
        node, output = graph[link[0]], link[1]
        kind, maker = node["class_type"], f"{node['class_type']} ({link[0]})"
        if kind in (SAMPLER, FILTER) and output == 0 and _is_connected(node["inputs"].get(CHECKED_BY), graph):
            return
        if kind not in PASSING or output != 0:
            break
        link = node["inputs"].get(PASSING[kind])
    raise BackendError(
        f"The workflow delivers pictures of {maker} that no safety checker has seen. Connect one to the Face Portrait Sampler, "
        "with at most scaling, cropping and sharpening behind it, or put a Safety Filter right before Preview Image. Requests "
        "that want no check say safety_checker: false."
    )


def remove_checkers(graph: Graph) -> None:
    """Take safety checkers out of the graph, and the filters that need one; their pictures pass unchecked."""
    for number, node in list(graph.items()):
        if node["class_type"] == FILTER:
            _pass_by(graph, number, node["inputs"].get("image"))
    gone = {number for number, node in graph.items() if node["class_type"] in (CHECKER, COMBINED, FILTER)}
    for number in gone:
        del graph[number]
    for node in graph.values():
        node["inputs"] = {name: value for name, value in node["inputs"].items() if not (is_link(value) and value[0] in gone)}


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _is_connected(value: Any, graph: Graph) -> bool:
    return is_link(value) and value[0] in graph


def _pass_by(graph: Graph, number: str, source: Any) -> None:
    for node in graph.values():
        for name, value in node["inputs"].items():
            if value == [number, 0]:
                node["inputs"][name] = source

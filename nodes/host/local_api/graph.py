"""A request as a graph: an API-format workflow in which the request's values and the chosen files are put in place.

Nodes are found by their class, so that a workflow exported from ComfyUI serves as well. It has one each of LoadImage,
CheckpointLoaderSimple, CLIPVisionLoader, FaceGenLoadFaceAnalyzer, FaceGenLoadFaceID, FaceGenStyle, FaceGenSampler,
FaceGenLoadSafetyChecker (connected to the sampler) and PreviewImage; with a render_scale also an ImageScale.
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....api.local.backend import BackendError
from ....api.local.flavours import Flavour
from ....contract import FaceGenRequest
from ..combos import NO_FILE

WORKFLOWS = Path(__file__).resolve().parents[3] / "workflows" / "api"
Graph = dict[str, dict[str, Any]]
# Entry of a flavour -> the loader's class and input.
FILES = {
    "checkpoint": ("CheckpointLoaderSimple", "ckpt_name"),
    "clip_vision": ("CLIPVisionLoader", "clip_name"),
    "face_pack": ("FaceGenLoadFaceAnalyzer", "model_pack"),
    "faceid": ("FaceGenLoadFaceID", "faceid_file"),
    "safety_checker": ("FaceGenLoadSafetyChecker", "checker"),
}
LORA = ("LoraLoader", "lora_name")
SETTINGS = "user/facegen/local_api.json"
SET_WORKFLOW = f"Set workflow of the flavour in {SETTINGS}."
CHECKER, SAMPLER, RESULT, RESIZE = "FaceGenLoadSafetyChecker", "FaceGenSampler", "PreviewImage", "ImageScale"


def load_workflow(name: str, own_folder: Path) -> Graph:
    """NAME.json of the user's folder, else of the pack's workflows/api. Raises BackendError, which names no other folder."""
    if not name or Path(name).name != name:
        raise BackendError(f"{name!r} is no name of a file without its folder and .json. {SET_WORKFLOW}")
    for folder in (own_folder, WORKFLOWS):
        path = folder / f"{name}.json"
        if path.is_file():
            break
    else:
        raise BackendError(
            f"There is no workflow {name}.json in {_shown(own_folder)} or the pack's workflows/api. {SET_WORKFLOW}"
        )
    try:
        graph: Graph = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(node["class_type"], str) and isinstance(node["inputs"], dict) for node in graph.values()):
            raise TypeError
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackendError(f"{_shown(path)} is not a workflow in API format (Workflow > Export (API)).") from error
    return graph


def _shown(path: Path) -> str:
    """A path of the user's folder as the documentation writes it; clients read it."""
    return "/".join(path.parts[-4:] if path.suffix else path.parts[-3:])


def build_graph(
    template: Graph, flavour: Flavour, request: FaceGenRequest, face: str, choices: Mapping[str, list[str]]
) -> Graph:
    """The graph of one request, whose seed is set. `face` is what LoadImage takes; `choices` has the files that each loader's
    class offers.

    Raises BackendError if the workflow or a file does not fit.
    """
    graph = copy.deepcopy(template)
    style = flavour.styles.get(request.style)
    wanted = {name: getattr(flavour, name) for name in FILES}
    if style and style.checkpoint:
        wanted["checkpoint"] = style.checkpoint
    if not request.safety_checker:
        _remove(graph, CHECKER)
    for name, (kind, widget) in FILES.items():
        if kind != CHECKER or request.safety_checker:
            inputs = _only(graph, kind)["inputs"]
            inputs[widget] = _choose(name, wanted[name], inputs.get(widget), choices[kind])
    _only(graph, "LoadImage")["inputs"]["image"] = face
    _only(graph, RESULT)
    _only(graph, "FaceGenStyle")["inputs"] |= {
        "style": request.style,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
    }
    _fill_sampler(graph, flavour.render_scale, request)
    for lora, strength in (style.loras if style else {}).items():
        _insert_lora(graph, _choose("loras", lora, None, choices[LORA[0]]), strength)
    return graph


def result_node(graph: Graph) -> str:
    """The id of the node that shows the pictures."""
    return next(number for number, node in graph.items() if node["class_type"] == RESULT)


def _fill_sampler(graph: Graph, render_scale: float, request: FaceGenRequest) -> None:
    width, height = request.width, request.height
    if render_scale != 1:
        _only(graph, RESIZE)["inputs"] |= {"width": width, "height": height}
        width, height = (round(side * render_scale / 8) * 8 for side in (width, height))
    _only(graph, SAMPLER)["inputs"] |= {
        "prompt": "",
        "negative_prompt": "",
        "s_scale": request.s_scale,
        "width": width,
        "height": height,
        "samples": request.samples,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "seed": request.seed,
        "safety_checker_type": request.safety_checker_type,
    }


def _only(graph: Graph, kind: str) -> dict[str, Any]:
    found = [node for node in graph.values() if node["class_type"] == kind]
    if len(found) != 1:
        raise BackendError(f"The workflow of the local API has {len(found)} {kind} nodes; it needs exactly one.")
    return found[0]


def _remove(graph: Graph, kind: str) -> None:
    """Take the nodes of a class out, and every link to them."""
    gone = {number for number, node in graph.items() if node["class_type"] == kind}
    for number in gone:
        del graph[number]
    for node in graph.values():
        node["inputs"] = {name: value for name, value in node["inputs"].items() if not (_is_link(value) and value[0] in gone)}


def _insert_lora(graph: Graph, lora: str, strength: float) -> None:
    """Put a LoRA behind the checkpoint: whoever took its model or text encoder takes the LoRA's."""
    (checkpoint,) = (number for number, node in graph.items() if node["class_type"] == FILES["checkpoint"][0])
    number = f"lora{sum(node['class_type'] == LORA[0] for node in graph.values())}"
    for node in graph.values():
        for name, value in node["inputs"].items():
            if _is_link(value) and value[0] == checkpoint and value[1] in (0, 1):
                node["inputs"][name] = [number, value[1]]
    inputs = {"model": [checkpoint, 0], "clip": [checkpoint, 1], "strength_model": strength, "strength_clip": strength}
    graph[number] = {"class_type": LORA[0], "inputs": {LORA[1]: lora, **inputs}}


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _choose(entry: str, wanted: str | None, usual: str | None, offered: list[str]) -> str:
    """The file that is configured, else the workflow's own, else the only one there is."""
    offered = [entry for entry in offered if not entry.startswith(NO_FILE)]
    if wanted is None and usual in offered:
        return usual
    if wanted is None and len(offered) == 1:
        return offered[0]
    if wanted in offered:
        return wanted
    have = ", ".join(offered[:10]) or "nothing"
    asked = f"{wanted} is not there" if wanted else f"{usual} is not there and no other is chosen"
    raise BackendError(f"{entry}: {asked}; ComfyUI has {have}. Set {entry} of the flavour in {SETTINGS}.")

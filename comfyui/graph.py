"""A request as a graph: an API-format workflow in which the request's values and the chosen files are put in place.

Nodes are found by their class, so that a workflow exported from ComfyUI serves as well. It has one each of LoadImage,
FaceGenStyle, FaceGenSampler (or a stock one, see stock_sampler.py) and PreviewImage, with a render_scale also an ImageScale,
and whatever loaders it likes: those of FILES are told which file to load. What it delivers has to be checked, see checked.py.
"""

import copy
import json
from pathlib import Path
from typing import Any

from ..api.local.backend import BackendError, Files
from ..api.local.flavours import Flavour, StyleFiles, made_guidance, made_size
from ..contract import FaceGenRequest
from .checked import FILTER, RESULT, SAMPLER, Graph, is_link, remove_checkers, require_checked
from .choices import CHECKER, FILES, LORA, Choices
from .stock_sampler import fill_stock_sampler, fill_stock_texts, stock_sampler

WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows" / "api"
SETTINGS = "local_api.json"
AND_NO_OTHER = " is missing, and ComfyUI has no other."
GET_FILES = "`python <pack folder> doctor` shows how to get what is missing."
SET_WORKFLOW = f"Set workflow of the flavour in {SETTINGS}."
PHOTO, STYLE, RESIZE = "LoadImage", "FaceGenStyle", "ImageScale"


def load_workflow(name: str, own_folder: Path) -> Graph:
    """NAME.json of the user's folder, else of the pack's workflows/api. Raises BackendError, which names no folder of this
    machine: clients read it."""
    if not name or Path(name).name != name:
        raise BackendError(f"{name!r} is no name of a file without its folder and .json. {SET_WORKFLOW}")
    for folder in (own_folder, WORKFLOWS):
        path = folder / f"{name}.json"
        if path.is_file():
            break
    else:
        where = f"the folder workflows beside {SETTINGS}, or in the pack's workflows/api"
        raise BackendError(f"There is no workflow {name}.json in {where}. {SET_WORKFLOW}")
    try:
        graph: Graph = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(node["class_type"], str) and isinstance(node["inputs"], dict) for node in graph.values()):
            raise TypeError
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackendError(f"workflows/{path.name} is not a workflow in API format (Workflow > Export (API)).") from error
    return graph


def build_graph(
    template: Graph, flavour: Flavour, request: FaceGenRequest, face: str, choices: Choices
) -> tuple[Graph, dict[str, str]]:
    """The graph of one request, whose seed is set, and the files in it by the flavour's entries. `face` is for LoadImage.

    Raises BackendError if the workflow doesn't fit, or files are missing: all of them are named.
    """
    graph = copy.deepcopy(template)
    stock = None if any(node["class_type"] == SAMPLER for node in graph.values()) else stock_sampler(graph)
    is_stock = stock is not None
    for kind in (PHOTO, stock or SAMPLER, RESULT, *([STYLE] if request.style else [])):
        _only(graph, kind)
    if request.safety_checker:
        require_checked(graph)
    else:
        remove_checkers(graph)
    files = flavour.styles.get(request.style) or StyleFiles()
    used, problems = _load_files(graph, flavour, files, request.safety_checker, choices)
    if problems:
        raise BackendError(" ".join(problems))
    _only(graph, PHOTO)["inputs"]["image"] = face
    _fill_sampler(graph, flavour, request, is_stock)
    _fill_style(graph, request, is_stock)
    for node in graph.values():
        if node["class_type"] == FILTER:
            node["inputs"]["safety_checker_type"] = request.safety_checker_type
    if is_stock and files.loras:
        raise BackendError(f"LoRAs of a style need a {SAMPLER} node in the flavour's workflow.")
    for lora, strength in files.loras.items():
        _insert_lora(graph, lora, strength)
    return graph, used


def flavour_files(template: Graph, flavour: Flavour, choices: Choices) -> Files:
    """The files of a request without a style's own; after what is missing, how to get it."""
    return Files(*_load_files(copy.deepcopy(template), flavour, StyleFiles(), True, choices))


def result_node(graph: Graph) -> str:
    """The id of the node that shows the pictures; "" where there is none."""
    return _first(graph, RESULT)


def sampler_node(graph: Graph) -> str:
    """The id of the node that samples, whose steps tell how far a request is; "" where there is none."""
    return _first(graph, SAMPLER) or _first(graph, stock_sampler(graph))


def _first(graph: Graph, kind: str | None) -> str:
    return next((number for number, node in graph.items() if node["class_type"] == kind), "")


def kinds(graph: Graph) -> set[str]:
    """The classes of its nodes."""
    return {node["class_type"] for node in graph.values()}


def _load_files(
    graph: Graph, flavour: Flavour, style: StyleFiles, is_checked: bool, choices: Choices
) -> tuple[dict[str, str], list[str]]:
    """Tell the loaders which files to load: (those by the flavour's entries, what is in the way)."""
    used, problems = {}, []
    for entry, (kind, widget) in FILES.items():
        if kind == CHECKER and not is_checked:
            continue
        wanted = getattr(flavour, entry)
        if entry == "checkpoint" and style.checkpoint:
            wanted = style.checkpoint
        loaders = [node["inputs"] for node in graph.values() if node["class_type"] == kind]
        if wanted and len(loaders) != 1:
            problems.append(f"{entry} is set in the flavour, and its workflow has {len(loaders)} {kind} nodes; it needs one.")
            continue
        for inputs in loaders:
            if is_link(inputs.get(widget)):  # another node tells it
                continue
            try:
                used[entry] = inputs[widget] = _choose(entry, wanted, inputs.get(widget), choices[kind], len(loaders) == 1)
            except BackendError as error:
                problems.append(str(error))
    for lora in style.loras:
        try:
            _choose("loras", lora, None, choices[LORA[0]], False)
        except BackendError as error:
            problems.append(str(error))
    if any(problem.endswith(AND_NO_OTHER) for problem in problems):
        problems.append(GET_FILES)
    if style.loras:
        used["loras"] = ", ".join(style.loras)
    return used, problems


def _fill_sampler(graph: Graph, flavour: Flavour, request: FaceGenRequest, is_stock: bool) -> None:
    width, height = made_size(flavour, request)
    if flavour.render_scale != 1:
        _only(graph, RESIZE)["inputs"] |= {"width": request.width, "height": request.height}
    if is_stock:
        fill_stock_sampler(graph, request, (width, height), made_guidance(flavour, request))
        return
    _only(graph, SAMPLER)["inputs"] |= {
        "s_scale": request.s_scale,
        "width": width,
        "height": height,
        "samples": request.samples,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": made_guidance(flavour, request),
        "seed": request.seed,
        "safety_checker_type": request.safety_checker_type,
    }


def _fill_style(graph: Graph, request: FaceGenRequest, is_stock: bool) -> None:
    """The prompts go through the style, which stock text encoders are linked to; where a request has none, straight to the
    sampler or the encoders."""
    words = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
    if request.style:
        _only(graph, STYLE)["inputs"] |= {"style": request.style, **words}
        if not is_stock:
            _only(graph, SAMPLER)["inputs"] |= dict.fromkeys(words, "")
        return
    if is_stock:
        fill_stock_texts(graph, request)
    else:
        _only(graph, SAMPLER)["inputs"] |= words
    gone = {number for number, node in graph.items() if node["class_type"] == STYLE}
    for node in graph.values():
        node["inputs"] = {name: value for name, value in node["inputs"].items() if not (is_link(value) and value[0] in gone)}
    for number in gone:
        del graph[number]


def _only(graph: Graph, kind: str) -> dict[str, Any]:
    found = [node for node in graph.values() if node["class_type"] == kind]
    if len(found) != 1:
        raise BackendError(f"The workflow of the local API has {len(found)} {kind} nodes; it needs exactly one.")
    return found[0]


def _insert_lora(graph: Graph, lora: str, strength: float) -> None:
    """Put a LoRA before the sampler, which takes its model and text encoder from it."""
    sampler = _only(graph, SAMPLER)["inputs"]
    number = next(name for n in range(len(graph) + 1) if (name := f"lora{n}") not in graph)
    links = {name: sampler.get(name) for name in ("model", "clip")}
    graph[number] = {
        "class_type": LORA[0],
        "inputs": {LORA[1]: lora, **links, "strength_model": strength, "strength_clip": strength},
    }
    sampler |= {"model": [number, 0], "clip": [number, 1]}


def _choose(entry: str, wanted: str | None, usual: str | None, offered: list[str], may_be_other: bool) -> str:
    """The file that is configured, else the workflow's own, else the only one there is, if it may be another one."""
    if wanted is None and usual in offered:
        return usual
    if wanted is None and len(offered) == 1 and may_be_other:
        return offered[0]
    if wanted in offered:
        return wanted
    if not offered:
        raise BackendError(f"{entry}: {wanted or usual}{AND_NO_OTHER}")
    have = ", ".join(offered[:10])
    raise BackendError(f"{entry}: {wanted or usual} is missing; ComfyUI has {have}. Set {entry} of the flavour in {SETTINGS}.")

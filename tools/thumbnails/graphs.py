"""The templates' graphs with the pack's tiny model in place of the downloads, and a ComfyUI server that runs them."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "support" / folder) for folder in ("", "api", "comfyui")]

import workflows  # noqa: E402
from host_server import ComfyServer  # noqa: E402

SIZE = 256  # of the only pictures that the tiny model knows
PROMPT = "a woman, smiling, blue background"  # in words that it knows
TINY = "tiny"
# Which outputs of Load Tiny Model stand for those of a loader.
LOADERS = {
    "CheckpointLoaderSimple": (0, 1, 2),
    "CLIPVisionLoader": (3,),
    "FaceGenLoadFaceID": (4,),
    "FaceGenLoadInstantID": (4,),  # by FaceID, as there is no tiny InstantID
    "FaceGenLoadPuLID": (4,),  # nor a tiny PuLID
    "UNETLoader": (0,),
    "DualCLIPLoader": (1,),
    "VAELoader": (2,),
    "FaceGenLoadFaceAnalyzer": (5,),
}
SET = {
    "FaceGenSampler": {"width": SIZE, "height": SIZE, "num_inference_steps": 21, "guidance_scale": 2.0},
    "KSampler": {"steps": 21, "cfg": 2.0},
    "BasicScheduler": {"steps": 21},
    "PrimitiveStringMultiline": {"value": PROMPT},
    "FaceGenStyle": {"prompt": PROMPT, "negative_prompt": ""},
    "FaceGenLoadFaceEmbeds": {"recogniser": "any"},
}
# What FaceID does without.
UNUSED = ("ControlNetLoader", "FaceGenFaceKeypoints", "FaceGenLoadFaceStructure")
# The nodes of a picture of two people, which becomes 512 x 256.
SHARED = {"SolidMask", "FeatherMask", "MaskComposite", "EmptyLatentImage"}
ACROSS, DOWN = ("width", "x", "left"), ("height", "y")


def of_type(graph: dict, node_type: str) -> list[str]:
    """Numbers of the nodes of one type, in the order of the file."""
    return [number for number, node in graph.items() if node["class_type"] == node_type]


def is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def load(name: str) -> dict:
    """The template's API-format graph. What needs no download runs as it is."""
    graph = workflows.with_photos(workflows.load(f"api/{name}.json"))
    return graph if of_type(graph, "FaceGenLoadTinyModel") else with_tiny_model(graph)


def by_faceid(graph: dict) -> dict:
    """The graph with FaceID in InstantID's or PuLID's place: the same people with the same masks, and no ControlNet."""
    graph = copy.deepcopy(graph)
    for number in of_type(graph, "FaceGenApplyInstantID"):
        inputs = graph[number]["inputs"]
        passed = {1: inputs["positive"], 2: inputs["negative"]}
        for node in graph.values():
            links = {
                name: value for name, value in node["inputs"].items() if is_link(value) and value[0] == number and value[1]
            }
            node["inputs"] |= {name: passed[value[1]] for name, value in links.items()}
        kept = {
            name: inputs[name] for name in ("model", "face_embeds", "start_percent", "end_percent", "layer_weights", "mask")
        }
        kept |= {"faceid": inputs["instantid"], "weight": 1.0, "s_scale": 1.0, "lora_strength": 1.0}
        graph[number] = {**graph[number], "class_type": "FaceGenApplyFaceID", "inputs": kept}
    for number in of_type(graph, "FaceGenApplyPuLID"):
        inputs = graph[number]["inputs"]
        kept = {name: inputs[name] for name in ("model", "face_embeds", "end_percent", "layer_weights")}
        kept |= {"faceid": inputs["pulid"], "weight": 1.0, "s_scale": 1.0, "lora_strength": 1.0, "start_percent": 0.0}
        graph[number] = {**graph[number], "class_type": "FaceGenApplyFaceID", "inputs": kept}
        for kind in ("EmptyLatentImage", "EmptySD3LatentImage"):
            for latent in of_type(graph, kind):
                graph[latent]["inputs"] |= {"width": SIZE, "height": SIZE}
        for guider in of_type(graph, "BasicGuider"):  # FLUX.1 needs no negative prompt; the tiny model does
            (prompt,) = of_type(graph, "CLIPTextEncode")
            graph[prompt]["inputs"]["text"] = PROMPT
            graph["negative"] = {**graph[prompt], "inputs": {**graph[prompt]["inputs"], "text": ""}}
            given = graph[guider]["inputs"]
            inputs = {"model": given["model"], "positive": given["conditioning"], "negative": ["negative", 0], "cfg": 2.0}
            graph[guider] = {**graph[guider], "class_type": "CFGGuider", "inputs": inputs}
    for number in of_type(graph, "FaceGenSampler"):
        kept = {n: v for n, v in graph[number]["inputs"].items() if n not in ("control_net", "keypoints")}
        graph[number]["inputs"] = kept | {"faceid_weight": 1.0}
    for number in of_type(graph, "FaceGenEmbedFace"):
        graph[number]["inputs"]["clip_vision"] = [TINY, 3]  # the tiny FaceID reads it
        graph[number]["inputs"].pop("face_structure", None)
    unused = {number for kind in UNUSED for number in of_type(graph, kind)}
    return {number: node for number, node in graph.items() if number not in unused}


def with_tiny_model(graph: dict) -> dict:
    """The graph with one Load Tiny Model for all loaders, at the size and with the words that this model knows."""
    if of_type(graph, "FaceGenLoadInstantID") or of_type(graph, "FaceGenLoadPuLID"):
        graph = by_faceid(graph)
    loaders = {number: LOADERS[node["class_type"]] for number, node in graph.items() if node["class_type"] in LOADERS}
    shares = _shares(graph)
    small = {number: copy.deepcopy(node) for number, node in graph.items() if number not in loaders}
    for node in small.values():
        inputs = node["inputs"]
        for name, value in inputs.items():
            if is_link(value) and value[0] in loaders:
                inputs[name] = [TINY, loaders[value[0]][value[1]]]
            elif node["class_type"] in SHARED and name in shares:
                inputs[name] = round(value * shares[name])
        fixed = SET.get(node["class_type"], {})
        inputs |= {name: value for name, value in fixed.items() if not is_link(inputs.get(name))}
    return small | ({TINY: {"class_type": "FaceGenLoadTinyModel", "inputs": {}}} if loaders else {})


def _shares(graph: dict) -> dict[str, float]:
    """By how much the widgets of a picture of two people shrink."""
    sizes = [graph[number]["inputs"] for number in of_type(graph, "EmptyLatentImage")]
    if not sizes or not of_type(graph, "SolidMask"):
        return {}
    return dict.fromkeys(ACROSS, 2 * SIZE / sizes[0]["width"]) | dict.fromkeys(DOWN, SIZE / sizes[0]["height"])


def preview(graph: dict, link: list) -> str:
    """Show a mask of the graph; the number of the node that does."""
    number = f"shown{len(graph)}"
    graph[f"{number}_picture"] = {"class_type": "MaskToImage", "inputs": {"mask": link}}
    graph[number] = {"class_type": "PreviewImage", "inputs": {"images": [f"{number}_picture", 0]}}
    return number


def lower_group(name: str, object_info: dict) -> dict:
    """The graph of a template's lower group, which is off in the file."""
    workflow = workflows.load(f"{name}.json")
    edge = max(group["bounding"][1] for group in workflow["groups"])
    for node in workflow["nodes"]:
        node["mode"] = workflows.NEVER if node["pos"][1] < edge else workflows.ALWAYS
    return with_tiny_model(workflows.to_api(workflow, object_info))


class Host:
    """A running ComfyUI and what it drew."""

    def __init__(self, server: ComfyServer):
        self.server, self.base = server, server.base

    def photo(self, name: str = "face") -> Image.Image:
        return Image.open(self.base / "input" / f"{name}.jpg").convert("RGB")

    def keypoints(self) -> Image.Image:
        """What Face Keypoints draws of the photo."""
        graph = {
            TINY: {"class_type": "FaceGenLoadTinyModel", "inputs": {}},
            "photo": {"class_type": "LoadImage", "inputs": {"image": "face.jpg"}},
            "points": {
                "class_type": "FaceGenFaceKeypoints",
                "inputs": {
                    **{"width": 2 * SIZE, "height": 2 * SIZE, "placement": "as in the photo", "center_x": 0.5, "center_y": 0.5},
                    **{"scale": 0.5, "image": ["photo", 0], "face_analysis": [TINY, 5]},
                },
            },
            "shown": {"class_type": "PreviewImage", "inputs": {"images": ["points", 0]}},
        }
        return self.run(graph)["shown"][0]

    def object_info(self) -> dict:
        return self.server.get("/object_info")

    def run(self, graph: dict, **changes: object) -> dict[str, list[Image.Image]]:
        """The pictures of every node that shows or saves some. The changes are for the only Face Generator Sampler."""
        if changes:
            graph = copy.deepcopy(graph)
            (sampler,) = of_type(graph, "FaceGenSampler")
            graph[sampler]["inputs"] |= changes
        entry = self.server.run(graph, timeout=900)
        if entry["status"]["status_str"] != "success":
            error = self.server.messages(entry).get("execution_error", {})
            raise RuntimeError(f"{error.get('node_type')}: {error.get('exception_message', json.dumps(entry['status']))}")
        shown = {number: output.get("images", ()) for number, output in entry["outputs"].items()}
        return {number: [self._open(image) for image in images] for number, images in shown.items() if images}

    def saved(self, graph: dict, **changes: object) -> list[Image.Image]:
        """The pictures of all Save Image nodes, in their order."""
        pictures = self.run(graph, **changes)
        return [picture for number in of_type(graph, "SaveImage") for picture in pictures[number]]

    def _open(self, image: dict) -> Image.Image:
        return Image.open(self.base / image["type"] / image["subfolder"] / image["filename"]).convert("RGB")

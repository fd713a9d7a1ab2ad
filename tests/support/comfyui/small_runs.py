"""Saved workflows run by a ComfyUI server at an eighth of their size, and what came out."""

import copy
import json

import numpy as np
from PIL import Image

import workflows

SIZES = {"width", "height", "x", "y", "left"}  # widgets in pixels
SMALLER = 8
FILES = {
    "DreamShaper_8_pruned.safetensors": "sd15.safetensors",
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors": "vit_l.safetensors",
    "RealVisXL_V4.0.safetensors": "sdxl.ckpt",
}
# What stands at a socket of a blueprint, by its type: node type and widget values.
LOADERS = {
    "IMAGE": ("LoadImage", ["face.jpg", "image"]),
    "MODEL": ("UNETLoader", ["flux1-dev.safetensors", "default"]),
    "CLIP": ("DualCLIPLoader", ["clip_l.safetensors", "t5xxl_fp16.safetensors", "flux", "default"]),
    "VAE": ("VAELoader", ["ae.safetensors"]),
}


def put_photos(folder):
    """Three different photos under the names that `workflows.with_photos` gives, and one turned by a quarter."""
    from skimage import data

    woman = data.astronaut()
    for name, picture in (
        ("face", woman),
        ("face_2", woman[:, ::-1]),
        ("face_3", 255 - woman),
        ("person_left", woman),
        ("person_right", 255 - woman),
        ("other", np.rot90(woman)),
    ):
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{name}.jpg", quality=95)


def small(graph):
    """The graph with the test's model files, in two steps and small."""
    graph = copy.deepcopy(graph)
    for node in graph.values():
        if node["class_type"] == "FaceGenModelsLab":
            continue
        inputs = node["inputs"]
        for name, value in inputs.items():
            if name in SIZES and isinstance(value, int):
                inputs[name] = value // SMALLER
            elif isinstance(value, str):
                inputs[name] = FILES.get(value, value)
        inputs |= {name: 2 for name in ("steps", "num_inference_steps") if name in inputs}
    return graph


def of_type(graph, node_type):
    """Numbers of the nodes of one type, in the order of the file."""
    return [number for number, node in graph.items() if node["class_type"] == node_type]


def placed(name, ends):
    """A workflow of the blueprint alone: at each of its sockets what loads such a thing, `ends` at its outputs.

    ends: (number of the output, node type, socket, widget values). The loaders are 11, 12 …; the ends are 21, 22 …
    """
    workflow = workflows.blueprint(name)
    (node,) = workflow["nodes"]
    nodes, links = [node], []
    for place, socket in enumerate(node["inputs"]):
        socket["link"] = 11 + place
        links.append([11 + place, 11 + place, 0, node["id"], place, socket["type"]])
        loader, values = LOADERS[socket["type"]]
        nodes.append({"id": 11 + place, "type": loader, "mode": 0, "inputs": [], "widgets_values": values})
    for number, (output, kind, socket, values) in enumerate(ends, 21):
        node["outputs"][output]["links"].append(number)
        links.append([number, node["id"], output, number, 0, "*"])
        sockets = [{"name": socket, "link": number}]
        nodes.append({"id": number, "type": kind, "mode": 0, "inputs": sockets, "widgets_values": values})
    return workflow | {"nodes": nodes, "links": links}


def asked(workflow, **values):
    """The workflow of a placed blueprint with other values in its widgets."""
    workflow = copy.deepcopy(workflow)
    node = workflow["nodes"][0]
    names = [name for _, name in node["properties"]["proxyWidgets"]]
    assert set(values) <= set(names)
    given = dict(zip(names, node["widgets_values"], strict=True)) | values
    node["widgets_values"] = [given[name] for name in names]
    return workflow


def by_place(graph):
    """ "<node type>.<input>" -> its value, or where its link begins, for a graph with at most one node of each type."""
    kinds = {number: node["class_type"] for number, node in graph.items()}
    assert len(set(kinds.values())) == len(kinds)
    return {
        f"{node['class_type']}.{name}": [kinds[value[0]], *value[1:]] if isinstance(value, list) else value
        for node in graph.values()
        for name, value in node["inputs"].items()
    }


class Done:
    """A finished run: its pictures and texts, by node. Without a `prompt_id`, the graph is queued first."""

    def __init__(self, server, graph, prompt_id=None):
        self.server, self.graph = server, graph
        # For a client by name, the history also has what output nodes showed in an earlier run.
        asked = {"prompt": graph, "client_id": "test"}
        self.entry = server.wait(prompt_id or json.loads(server.request("/prompt", asked))["prompt_id"])
        assert self.entry["status"]["status_str"] == "success", server.tail()

    def pictures(self, node=None):
        """Of one output node, or of the only Save Image: uint8 [H, W, 3] each."""
        node = node or of_type(self.graph, "SaveImage")[0]
        for image in self.entry["outputs"][node]["images"]:
            path = self.server.base / image["type"] / image["subfolder"] / image["filename"]
            yield np.asarray(Image.open(path).convert("RGB"))

    def picture(self, node=None):
        (only,) = self.pictures(node)
        return only


def apart(a, b):
    """Mean difference of two pictures, in levels of 255."""
    return np.abs(a.astype(float) - b.astype(float)).mean()

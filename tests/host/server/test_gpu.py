"""On a GPU, with weights that are resident and with weights that aren't: the CPU's picture."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

import workflows
from host_server import ComfyServer

GPUS = torch.cuda.device_count()
FILES = {"1": {"ckpt_name": "sd15.safetensors"}, "3": {"clip_name": "vit_l.safetensors"}}
SMALL = {"8": {"width": 64, "height": 96, "samples": 2, "num_inference_steps": 3}}
# The newest hosts keep weights off the GPU until a layer needs them, unless they are told not to.
WAYS = {"dynamic VRAM": (), "resident": ("--highvram",)}
gpu = pytest.mark.skipif(not GPUS, reason="needs an NVIDIA GPU")


@pytest.fixture(scope="module")
def graph(base_directory):
    from skimage import data

    Image.fromarray(data.astronaut()).save(base_directory / "input" / "face.jpg", quality=95)
    graph = workflows.load("api/portrait_sd15.json")
    for node, inputs in (FILES | SMALL).items():
        graph[node]["inputs"] |= inputs
    return graph


def pictures(server, graph):
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", server.tail()
    for image in entry["outputs"]["11"]["images"]:
        file = server.base / image["type"] / image["subfolder"] / image["filename"]
        yield np.asarray(Image.open(file).convert("RGB"), dtype=float)


def assert_alike(given, wanted):
    for one, other in zip(given, wanted, strict=True):
        assert np.abs(one - other).mean() < 2  # levels of 255


@gpu
@pytest.mark.parametrize("way", WAYS)
def test_a_portrait_on_a_gpu(server, base_directory, graph, way):
    """Also after ComfyUI took all that it had loaded off the GPU."""
    with ComfyServer(base_directory, "--force-fp32", *WAYS[way]) as on_gpu:
        for seed in (1, 2):
            assert_alike(pictures(on_gpu, _seeded(graph, seed)), pictures(server, _seeded(graph, seed)))
            on_gpu.request("/free", {"unload_models": True, "free_memory": True})


def _seeded(graph, seed):
    changed = copy.deepcopy(graph)
    changed["8"]["inputs"]["seed"] = seed
    return changed


@pytest.mark.skipif(GPUS < 2, reason="needs two NVIDIA GPUs")
def test_a_portrait_on_two_gpus(server, base_directory, graph):
    split = copy.deepcopy(graph)
    split["20"] = {"class_type": "MultiGPU_WorkUnits", "inputs": {"model": ["1", 0], "max_gpus": 2}}
    split["8"]["inputs"]["model"] = ["20", 0]
    with ComfyServer(base_directory, "--force-fp32") as on_gpus:
        if "MultiGPU_WorkUnits" not in on_gpus.get("/object_info"):
            pytest.skip("this ComfyUI works on one GPU")
        assert_alike(pictures(on_gpus, split), pictures(server, graph))

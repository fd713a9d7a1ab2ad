"""A real ComfyUI, from COMFYUI_PATH: imported into this process on the CPU, and as a server on a free loopback port."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from host_server import COMFYUI, ComfyServer
from shipped import unpack

SUPPORT = Path(__file__).parents[1] / "support" / "comfyui"


def pytest_collection_modifyitems(items):
    if not COMFYUI:
        here = [item for item in items if Path(__file__).parent in item.path.parents]
        for item in here:
            item.add_marker(pytest.mark.skip(reason="needs a real ComfyUI: set COMFYUI_PATH"))


if COMFYUI:
    sys.path.insert(0, COMFYUI)
    import comfy.cli_args
    import utils.install_util  # noqa: F401  as main.py does: later, nodes.py puts another `utils` first on sys.path

    comfy.cli_args.args.cpu = True


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI runs nodes in inference mode."""
    import torch

    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory):
    """A ComfyUI base folder with small models in the real formats. In custom_nodes are, under another name, the pack as the
    registry ships it, without the rest of the repository; and what keeps encoders low and lets ComfyUI load a small T5."""
    from flux_files import SMALL_T5
    from host_models import build_models_folder

    base = tmp_path_factory.mktemp("comfyui")
    build_models_folder(base / "models")
    for name in ("input", "output", "temp", "user", "custom_nodes"):
        (base / name).mkdir()
    unpack(base / "custom_nodes" / "my-faces")
    shutil.copy(SUPPORT / "few_layers.py", base / "custom_nodes")
    (base / "custom_nodes" / "small_t5.py").write_text(SMALL_T5, encoding="utf-8")
    return base


@pytest.fixture(scope="module")
def sdxl(base_directory):
    """Files of the SDXL family; half a gigabyte, gone after these tests."""
    from sdxl_files import sdxl_files

    yield from _while_needed(sdxl_files(base_directory / "models"))


@pytest.fixture(scope="module")
def flux(base_directory):
    """Files of FLUX.1, gone after these tests."""
    from flux_files import flux_files

    yield from _while_needed(flux_files(base_directory / "models"))


@pytest.fixture(scope="module")
def flux_that_runs(flux):
    """The same, where this ComfyUI can load them."""
    from flux_files import are_read

    if not are_read():
        pytest.skip("this ComfyUI takes every FLUX.1 for one of the published width")


def _while_needed(files):
    yield
    for file in files:
        file.unlink(missing_ok=True)  # the two families share what sees a face


@pytest.fixture(scope="session")
def folder_paths(base_directory):
    """ComfyUI's folder_paths, looking into the base folder."""
    import folder_paths

    import few_layers  # noqa: F401  as the server has it

    folder_paths.models_dir = str(base_directory / "models")
    for name, (paths, _) in folder_paths.folder_names_and_paths.items():
        paths[:] = [str(base_directory / "models" / name)]
    folder_paths.set_output_directory(str(base_directory / "output"))
    folder_paths.set_input_directory(str(base_directory / "input"))
    folder_paths.set_user_directory(str(base_directory / "user"))
    return folder_paths


@pytest.fixture(scope="session")
def pack_nodes(folder_paths):
    """Node id -> class, as ComfyUI gets them."""
    import facegen

    extension = asyncio.run(facegen.comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


@pytest.fixture(scope="session")
def run(pack_nodes):
    """run("FaceGenStyle", style="anime", …) -> the node's outputs, with schema defaults for what isn't given."""

    def execute(node_id, **inputs):
        node = pack_nodes[node_id]
        defaults = {i.id: i.default for i in node.GET_SCHEMA().inputs if getattr(i, "default", None) is not None}
        return node.EXECUTE_NORMALIZED(**{**defaults, **inputs}).result

    return execute


@pytest.fixture(scope="session")
def checkpoint(folder_paths):
    """(MODEL, CLIP, VAE) from the stock loader."""
    import nodes

    return nodes.CheckpointLoaderSimple().load_checkpoint("sd15.safetensors")[:3]


@pytest.fixture(scope="session")
def clip_vision(folder_paths):
    """From the stock loader."""
    import nodes

    return nodes.CLIPVisionLoader().load_clip("vit_l.safetensors")[0]


@pytest.fixture(scope="session")
def server(base_directory):
    """A running ComfyUI server that loaded the pack from custom_nodes."""
    with ComfyServer(base_directory) as running:
        yield running

"""What loading the pack costs a ComfyUI, and what it leaves as it was."""

import json
import os
import statistics
import subprocess
import sys

import pytest

from host_server import COMFYUI
from pack import ROOT

# Parts of Python's own library, as many as take about a third of what the pack takes.
LIBRARY = (
    "email.headerregistry",
    "http.cookiejar",
    "http.server",
    "multiprocessing.managers",
    "unittest.mock",
    "wsgiref.simple_server",
    "xml.dom.minidom",
    "xmlrpc.server",
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What a process found that loaded the pack six times, anew, and each time also a part of Python's own library as a
    measure of the machine; ComfyUI had imported what it needs itself, as it has before it loads custom nodes, and two model
    folders were set."""
    folder = str(tmp_path_factory.mktemp("models"))
    script = f"""
import sys; sys.path.insert(0, {COMFYUI!r})
import asyncio, importlib.util, json, time
import comfy.cli_args; comfy.cli_args.args.cpu = True
import utils.install_util
import nodes, aiohttp.web, comfy_api.latest, comfy.samplers, PIL.Image, PIL.ImageDraw, PIL.ImageFont, folder_paths
for name in ("ipadapter", "insightface"):
    folder_paths.add_model_folder_path(name, {folder!r}, is_default=True)
def load():
    path = {str(ROOT / "__init__.py")!r}
    spec = importlib.util.spec_from_file_location("pack", path, submodule_search_locations=[{str(ROOT)!r}])
    pack = sys.modules["pack"] = importlib.util.module_from_spec(spec); spec.loader.exec_module(pack)
    for node in asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list()):
        node.GET_SCHEMA()
def library():
    for name in {LIBRARY}:
        importlib.import_module(name)
def seconds(work, *names):
    for name in [name for name in sys.modules if name.split(".")[0] in names]:
        del sys.modules[name]
    begin = time.process_time()
    work()
    return time.process_time() - begin
there = set(sys.modules)  # newer ComfyUIs import cv2 themselves
pack, measure = [seconds(load)], []
folders = [folder_paths.get_folder_paths(n) for n in ("ipadapter", "insightface")]
for _ in range(5):
    pack.append(seconds(load, "pack"))
    measure.append(seconds(library, *{[name.split(".")[0] for name in LIBRARY]}))
libraries = {{"insightface", "onnxruntime", "onnx", "cv2", "diffusers", "nudenet", "skimage"}}
heavy = sorted(libraries & set(sys.modules) - there)
print(json.dumps({{"pack": pack, "measure": measure, "heavy": heavy, "on_path": {str(ROOT)!r} in sys.path, "folders": folders,
                   "set": {folder!r}, "models": folder_paths.models_dir}}))
"""
    return json.loads(python(script, PYTHONDONTWRITEBYTECODE=""))


def test_model_folders_keep_what_was_set_before(loaded):
    for name, folders in zip(("ipadapter", "insightface"), loaded["folders"], strict=True):
        assert folders == [loaded["set"], os.path.join(loaded["models"], name)]


def test_loading_the_pack_is_quick_and_lazy(loaded):
    """As on a user's machine, bytecode is written the first time and read from then on."""
    assert loaded["heavy"] == [] and not loaded["on_path"]
    # Each beside its own measure: a busy machine is slow by fits and starts.
    ratios = [pack / measure for pack, measure in zip(loaded["pack"][1:], loaded["measure"], strict=True)]
    assert statistics.median(ratios) < 4, (loaded["pack"], loaded["measure"])


def python(script, **environ):
    command, env = [sys.executable, "-c", script], {**os.environ, **environ}
    done = subprocess.run(command, capture_output=True, text=True, cwd=COMFYUI, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]

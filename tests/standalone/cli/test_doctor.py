"""The doctor: finds what is there, names what is broken with its cure, and needs none of the libraries it looks for."""

import importlib.metadata
import importlib.util
import os
import shlex
import subprocess
import sys
import types

import pytest
import torch
from safetensors.torch import save_file

from facegen.errors import FaceGenError
from facegen.models.published import STARTER
from facegen.models.safetensors_header import clip_width, shapes
from facegen.standalone.cli import comfyui, doctor
from facegen.standalone.cli.doctor_rows import files as doctor_files
from facegen.standalone.cli.main import main
from faceid_files import faceid_state, save
from header_files import save_checkpoint, save_controlnet
from local_api_server import ApiServer
from memory_backend import MemoryBackend
from onnx_files import save_pack
from pack import ROOT

KEY = "secret-key-0123456789"


@pytest.fixture(scope="module")
def faceid(tmp_path_factory):
    return save(faceid_state([32] * 16, 768, 1280, rank=2, depth=1, inner=64), tmp_path_factory.mktemp("f") / "any.bin")


@pytest.fixture
def models(tmp_path, faceid, monkeypatch):
    """A ComfyUI with all that FaceGen needs, and no settings."""
    monkeypatch.delenv("MODELSLAB_API_KEY", raising=False)
    monkeypatch.delenv("FACEGEN_API_TOKEN", raising=False)
    models = tmp_path / "ComfyUI" / "models"
    for kind in ("checkpoints", "clip_vision", "ipadapter"):
        (models / kind).mkdir(parents=True)
    (models.parent / "comfyui_version.py").write_text('__version__ = "0.8.0"\n')
    save_file({"x": torch.zeros(4)}, models / "checkpoints" / "dreams.safetensors")
    save_clip(models / "clip_vision" / "vit_h.safetensors", 1280)
    (models / "ipadapter" / "person.bin").symlink_to(faceid)
    save_pack(models / "insightface" / "models" / "buffalo_l", [(0.3, 0.3, 0.6, 0.6, 0.9)])
    return models


def save_clip(path, width):
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(width)}, path)


@pytest.fixture
def run(capsys):
    def run(*arguments):
        """(exit code, {what: (state, found, cure)}, text)"""
        code = 0
        try:
            main(["doctor", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        text, rows, last = capsys.readouterr().out, {}, None
        for line in text.splitlines():
            if line.strip().startswith("-> "):
                rows[last] = (*rows[last][:2], line.strip()[3:])
            elif line.split()[:1] and line.split()[0] in ("ok", "note", "missing", "BROKEN"):
                what, found = line[8:].split("  ", 1)
                last = what
                rows[last] = (line[:7].strip(), found.strip(), "")
        return code, rows, text

    return run


def test_all_is_well(run, models):
    code, rows, text = run("--models", models)
    assert code == 0 and "Nothing is broken." in text
    assert rows["ComfyUI"] == ("ok", "0.8.0", "")
    assert rows["insightface"][1] == f"insightface {importlib.metadata.version('insightface')}"
    assert rows["FaceID"][1] == "person.bin: faceid-plusv2_sd15 for SD1.5"
    assert rows["CLIP vision"][1] == "vit_h.safetensors: width 1280" and rows["model pack"][1] == "buffalo_l"
    assert "CPU" in rows["ONNX providers"][1] and rows["checkpoint"][1] == "dreams.safetensors"
    assert rows["local API"][1] == "off" and rows["ModelsLab key"][1].startswith("not configured")
    version = doctor.version()
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text() and rows["ComfyUI-FaceGen"][1] == version


def test_nothing_is_there(run, tmp_path):
    (tmp_path / "models").mkdir()
    code, rows, text = run("--models", tmp_path / "models")
    assert code == 1 and not any(state == "BROKEN" for state, _, _ in rows.values())
    assert "\nNothing is broken.\n4 to download: the rows that begin with missing.\nAll missing" in text
    broken = {what: cure for what, (state, _, cure) in rows.items() if state == "missing"}
    assert set(broken) == {"checkpoint", "FaceID", "CLIP vision", "model pack"}
    assert rows["ComfyUI"][0] == "note"
    names = {"checkpoint": "dreamshaper-8", "FaceID": "faceid-plusv2_sd15", "CLIP vision": "clip-vit-h"}
    for what, name in {**names, "model pack": "buffalo_l"}.items():
        assert f"models download {name} --models {tmp_path / 'models'}" in broken[what]
    assert str(tmp_path / "models" / "checkpoints") in broken["checkpoint"]


def test_the_commands_that_it_prints_fetch_what_is_missing(run, models, capsys, monkeypatch):
    """Each as it stands, and the last line all of them."""
    fetched = []
    monkeypatch.setattr("facegen.standalone.cli.models.fetch_file", lambda file, folder: fetched.append((file.name, folder)))
    monkeypatch.setattr("facegen.standalone.cli.models.fetch_pack", lambda pack, folder: fetched.append((pack.name, folder)))
    for kind in ("checkpoints", "clip_vision", "ipadapter", "insightface"):
        (models / kind).rename(models.parent / kind)
    _, rows, text = run("--models", models)
    cures = [cure for _, _, cure in rows.values() if "models download" in cure]
    lines = [cure.removeprefix("Run: ").split(" (")[0] for cure in cures]
    (together,) = [line.split(": ", 1)[1] for line in text.splitlines() if line.startswith("All missing model files at once: ")]
    for line in (*lines, together):
        python, pack, *words = shlex.split(line)
        assert python == sys.executable and pack == str(ROOT) and main(words) == 0
    names = [name for name, folder in fetched if folder == models]
    assert sorted(names) == sorted([*STARTER.values()] * 2) and names[4:] == [name for name, _ in fetched[:4]]


def test_a_clip_vision_model_of_another_width_is_named(run, models):
    (models / "clip_vision" / "vit_h.safetensors").unlink()
    save_clip(models / "clip_vision" / "vit_l.safetensors", 1024)
    code, rows, text = run("--models", models)
    assert code == 1 and "vit_l.safetensors: width 1024" in text
    assert rows["CLIP vision"][0] == "missing" and "none of width 1280" in rows["CLIP vision"][1]


def test_what_pulid_lacks_is_told_once_its_file_is_there(run, models, monkeypatch):
    assert run("--models", models)[1]["PuLID"] == ("ok", "not set up (another method, for SDXL and FLUX.1)", "")
    (models / "ipadapter" / "PuLID for me.bin").write_bytes(b"x")
    code, rows, _ = run("--models", models)
    state, found, cure = rows["PuLID"]
    assert code == 0 and state == "note"
    wanted = "lacks vision tower EVA02-CLIP, face-parsing network, model pack antelopev2 (there is adapter: PuLID for me.bin)"
    assert found == wanted
    assert f"models download eva02-clip-l-336 face-parsing antelopev2 --models {models}" in cure
    (models / "clip_vision" / "EVA02_CLIP_L_336_psz14_s6B.pt").touch()
    (models / "facexlib").mkdir()
    (models / "facexlib" / "parsing_bisenet.pth").touch()
    pack = save_pack(models / "insightface" / "models" / "antelopev2", [(0.3, 0.3, 0.6, 0.6, 0.9)])
    (pack / "w600k_r50.onnx").rename(pack / "glintr100.onnx")
    find_spec = importlib.util.find_spec
    for there in (True, False):
        library = types.SimpleNamespace() if there else None
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, _l=library: _l if name == "timm" else find_spec(name))
        state, found, cure = run("--models", models)[1]["PuLID"]
        assert (state, cure) == (("ok", "") if there else ("note", f'Run: "{sys.executable}" -m pip install timm'))
        assert "vision tower EVA02-CLIP: EVA02_CLIP_L_336_psz14_s6B.pt; face-parsing network: parsing_bisenet.pth" in found


def test_a_checkpoint_without_a_faceid_for_it_is_named(run, models):
    save_checkpoint(models / "checkpoints" / "one.safetensors", "SDXL")
    _, rows, _ = run("--models", models)
    state, found, cure = rows["FaceID for SDXL"]
    assert state == "note" and found == "none, though there is one.safetensors"
    assert f"models download faceid-plusv2_sdxl --models {models}" in cure and "FaceID for SD1.5" not in rows


def test_what_instantid_lacks_is_told_once_a_part_of_it_is_there(run, models):
    assert run("--models", models)[1]["InstantID"] == ("ok", "not set up (another method, for SDXL)", "")
    for folder in ("instantid", "controlnet"):
        (models / folder).mkdir()
    (models / "instantid" / "ip-adapter.bin").touch()
    save_controlnet(models / "controlnet" / "sd15.safetensors", 768, None)
    code, rows, _ = run("--models", models)
    state, found, cure = rows["InstantID"]
    assert code == 0 and state == "note"
    assert found == "lacks ControlNet, model pack antelopev2, SDXL checkpoint (there is adapter: ip-adapter.bin)"
    assert f"models download instantid-controlnet antelopev2 sdxl-base --models {models}" in cure
    save_controlnet(models / "controlnet" / "any name.safetensors")
    save_checkpoint(models / "checkpoints" / "xl.safetensors", "SDXL")
    pack = save_pack(models / "insightface" / "models" / "antelopev2", [(0.3, 0.3, 0.6, 0.6, 0.9)])
    (pack / "w600k_r50.onnx").rename(pack / "glintr100.onnx")
    state, found, _ = run("--models", models)[1]["InstantID"]
    assert state == "ok" and found.startswith("adapter: ip-adapter.bin; ControlNet: any name.safetensors; model pack")


def test_damaged_files_are_named(run, models):
    whole = (models / "checkpoints" / "dreams.safetensors").read_bytes()
    (models / "checkpoints" / "dreams.safetensors").write_bytes(whole[:-3])
    (models / "ipadapter" / "page.bin").write_bytes(b"<html>")
    code, rows, _ = run("--models", models)
    assert code == 1 and "truncated" in rows["checkpoint"][1] and rows["no FaceID"][1].startswith("page.bin: ")
    (models / "ipadapter" / "person.bin").unlink()
    assert run("--models", models)[1]["FaceID"][:2] == ("missing", "no FaceID file")
    for content in (b"", b"hello", b"\xff" * 20, b"\2\0\0\0\0\0\0\0[]", b"\x0b\0\0\0\0\0\0\0" + b'{"x": null}'):
        (models / "clip_vision" / "vit_h.safetensors").write_bytes(content)
        assert clip_width(models / "clip_vision" / "vit_h.safetensors") is None
        with pytest.raises(ValueError):
            shapes(models / "clip_vision" / "vit_h.safetensors")


def test_folders_of_extra_model_paths_count(run, models):
    away = models.parent.parent / "my files"
    away.mkdir()
    (models / "ipadapter").rename(away / "adapters")
    text = f"mine:\n  base_path: {away}\n  ipadapter: |\n    nowhere\n    adapters\nempty:\n"
    (models.parent / "extra_model_paths.yaml").write_text(text)
    code, rows, _ = run("--models", models)
    assert code == 0 and rows["FaceID"][1].startswith("person.bin")
    (models.parent / "extra_model_paths.yaml").write_text("mine: [\n")
    code, rows, _ = run("--models", models)
    assert code == 1 and rows["extra_model_paths"][1].startswith("not read: ")


def test_the_pack_s_place_says_where_models_are(run, models, monkeypatch):
    monkeypatch.setattr(comfyui, "PACK", models.parent / "custom_nodes" / "faces")
    assert run()[1]["FaceID"][1].startswith("person.bin")
    monkeypatch.setattr(comfyui, "PACK", models.parent)
    code, rows, text = run()
    assert code == 0 and rows["model files"][2].startswith("Say with --models DIR")
    assert "Nothing is broken." not in text and "model files were not looked at" in text


def doctor_says(where, pack, home, **environ):
    """What the doctor of `pack` prints in a shell in the folder `where`, in a home folder with nothing of ours in it."""
    left = {name: value for name, value in os.environ.items() if name not in ("COMFYUI_PATH", "PWD", "MODELSLAB_API_KEY")}
    env = {**left, "HOME": str(home), "USERPROFILE": str(home), "PYTHONUTF8": "1", **environ}
    done = subprocess.run([sys.executable, "-I", "-S", pack, "doctor"], capture_output=True, text=True, cwd=where, env=env)
    return done.stdout


@pytest.fixture
def linked(models, tmp_path):
    """A ComfyUI whose custom_nodes links to this pack; gives the link."""
    link = models.parent / "custom_nodes" / "my faces"
    link.parent.mkdir()
    link.symlink_to(ROOT, target_is_directory=True)
    return link


@pytest.mark.parametrize("way", ["by the link", "in the link", "from elsewhere", "from custom_nodes", "COMFYUI_PATH", "home"])
def test_a_linked_pack_finds_its_comfyui(linked, tmp_path, way):
    """Called by the link's name, from a shell that followed it, or by its own name: by what links to it."""
    home = tmp_path / "home"
    home.mkdir()
    if way == "by the link":
        text = doctor_says(tmp_path, linked, home)
    elif way == "in the link":
        text = doctor_says(linked, ".", home, PWD=str(linked))
    elif way == "from elsewhere":
        text = doctor_says(tmp_path, "ComfyUI/custom_nodes/my faces/__main__.py", home)
    elif way == "from custom_nodes":
        text = doctor_says(linked.parent, linked.name, home, PWD=str(linked.parent))
    elif way == "COMFYUI_PATH":
        text = doctor_says(ROOT, ".", home, COMFYUI_PATH=str(linked.parents[1]))
    else:
        (home / "ComfyUI").symlink_to(linked.parents[1], target_is_directory=True)
        text = doctor_says(ROOT, ".", home)
    said = {line[8:].partition("  ")[0]: line[8:].partition("  ")[2].strip() for line in text.splitlines()}
    assert said["models folder"] == str(linked.parents[1] / "models") and said["ComfyUI"] == "0.8.0", text


def test_of_several_comfyuis_the_one_by_whose_link_it_was_called(linked, tmp_path, models, monkeypatch, capsys):
    other = tmp_path / "Other" / "custom_nodes" / "faces"
    other.parent.mkdir(parents=True)
    other.symlink_to(ROOT, target_is_directory=True)
    both = [linked.parents[1], other.parents[1]]
    monkeypatch.setattr(comfyui, "known_comfyuis", lambda: iter([*both, tmp_path / "none"]))
    monkeypatch.setattr(sys, "argv", [str(ROOT)])
    assert main(["models", "download", "buffalo_l"]) == 2
    said = capsys.readouterr().err
    assert "--models DIR" in said and all(str(one) in said for one in both)
    monkeypatch.setattr(sys, "argv", [str(linked)])
    assert comfyui.comfyui_models() == models
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "elsewhere")])  # a name that is not the pack's
    with pytest.raises(FaceGenError, match="Several ComfyUIs"):
        comfyui.comfyui_models()
    monkeypatch.setattr(comfyui, "known_comfyuis", lambda: iter([both[1], both[1]]))
    assert comfyui.comfyui_models() == both[1] / "models"


def test_settings_are_told_and_keys_are_not(run, models, monkeypatch):
    monkeypatch.setenv("MODELSLAB_API_KEY", KEY)
    settings = models.parent / "user" / "facegen"
    settings.mkdir(parents=True)
    (settings / "local_api.json").write_text('{"enabled": true, "token": "0123456789abcdef-token"}')
    (settings / "local_api.json").chmod(0o600)
    code, rows, text = run("--models", models)
    assert code == 0 and rows["ModelsLab key"][1] == "configured (MODELSLAB_API_KEY)"
    assert rows["local API"] == ("ok", "on; its address and files are told while ComfyUI runs", "")
    assert KEY not in text and "abcdef-token" not in text
    (settings / "local_api.json").write_text('{"enabled": "yes"}')
    (settings / "modelslab.json").write_text("[")
    (settings / "modelslab.json").chmod(0o600)
    code, rows, text = run("--models", models)
    assert code == 1 and rows["ModelsLab key"][0] == rows["local API"][0] == "BROKEN" and KEY not in text


def test_the_running_api_tells_its_address_and_files(run, models):
    backend = MemoryBackend()
    with ApiServer(models.parent, backend, enabled=True) as server:
        url = f"http://127.0.0.1:{server.port}/api/v6/image_editing/face_gen"
        code, rows, _ = run("--models", models)
        assert code == 0 and rows["local API"] == ("ok", f"on, at {url}", "")
        assert rows["local API, sd15"][:2] == ("ok", "checkpoint memory.safetensors (if a request names no flavour)")
        assert rows["local API, tiny"][:2] == ("ok", "checkpoint memory.safetensors")
        backend.lacks = ["checkpoint: none.", "Get one."]
        code, rows, _ = run("--models", models)
        assert code == 0 and rows["local API, tiny"][1].endswith("(if a request names no flavour)")
        assert rows["local API, sd15"] == ("note", "can't be used yet. checkpoint: none. Get one.", "")
        server.configure(enabled=True, default="sdxl")
        code, rows, _ = run("--models", models)
        state, _, cure = rows["local API, sdxl"]
        assert (code, state, cure) == (1, "BROKEN", "checkpoint: none. Get one.")
        backend.away = "The workers can't be reached."
        assert run("--models", models)[1]["local API"] == ("note", "on; The workers can't be reached.", "")
    code, rows, _ = run("--models", models)
    assert code == 0 and rows["local API"][1].startswith("on; ") and "local API, sd15" not in rows


def test_folders_that_cannot_be_written(run, models, monkeypatch):
    monkeypatch.setattr(doctor_files.os, "access", lambda path, mode: "insightface" not in str(path))
    code, rows, _ = run("--models", models)
    assert code == 1 and rows["insightface folder"][0] == "BROKEN" and rows["output folder"][0] == "ok"


def library(monkeypatch, versions, name="cv2", oldest=()):
    def version(distribution):
        if distribution not in versions:
            raise importlib.metadata.PackageNotFoundError(distribution)
        return versions[distribution]

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    return doctor.library(name, doctor.LIBRARIES[name][0], oldest)[0]


def test_builds_that_clash(monkeypatch):
    two = {"opencv-python": "4.10.0", "opencv-python-headless": "5.0.0"}
    row = library(monkeypatch, two)
    assert row.state == "note" and "opencv-python==5.0.0 opencv-python-headless==5.0.0" in row.cure
    assert library(monkeypatch, dict.fromkeys(two, "5.0.0")).state == "ok"
    row = library(monkeypatch, {"onnxruntime": "1.2", "onnxruntime-gpu": "1.2"}, "onnxruntime")
    # Taking one out takes files of the other along; and whoever has a build for the GPU wants that one.
    assert row.state == "note"
    assert row.cure.endswith("pip uninstall -y onnxruntime onnxruntime-gpu, then: pip install onnxruntime-gpu")
    row = library(monkeypatch, {"insightface": "0.7.3"}, "insightface", (2, 1))
    assert row.state == "BROKEN" and row.cure.endswith("--upgrade")


@pytest.mark.parametrize("name", ["onnxruntime-migraphx", "onnxruntime-for-some-chip"])
def test_a_build_for_other_hardware_is_seen(monkeypatch, name):
    """Also one that nobody here has heard of: whatever says that it brings the module."""
    monkeypatch.setattr(doctor, "brought_by", lambda: {"onnxruntime": [name]})
    row = library(monkeypatch, {name: "1.23"}, "onnxruntime")
    assert (row.state, row.found) == ("ok", f"{name} 1.23")
    assert "onnxruntime" in doctor.importlib.metadata.packages_distributions()


def test_a_library_that_is_there_but_breaks(monkeypatch):
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: 1 / 0)
    row = library(monkeypatch, {"insightface": "2.1"}, "insightface")
    assert row.state == "BROKEN" and "importing it fails: division by zero" in row.found and "--force-reinstall" in row.cure


def test_a_gpu_without_its_provider():
    def torch_of(hip):
        cuda, version = types.SimpleNamespace(is_available=lambda: True), types.SimpleNamespace(hip=hip)
        return types.SimpleNamespace(cuda=cuda, version=version)

    def ort_with(*names):
        return types.SimpleNamespace(get_available_providers=lambda: [*names, "CPUExecutionProvider"])

    assert "onnxruntime-gpu" in doctor.providers(ort_with(), torch_of(None)).cure
    assert "onnxruntime-migraphx" in doctor.providers(ort_with("CUDAExecutionProvider"), torch_of("6.4")).cure
    row = doctor.providers(ort_with("MIGraphXExecutionProvider"), torch_of("6.4"))
    assert row == ("ok", "ONNX providers", "MIGraphX, CPU", "", "")
    assert doctor.providers(ort_with("AzureExecutionProvider"), None).found == "CPU"  # it runs nothing of ours
    assert doctor.providers(None, None).state == "note"


def test_it_works_where_nothing_is_installed(models):
    """In a Python that finds the standard library alone."""
    command = [sys.executable, "-I", "-S", str(ROOT), "doctor", "--models", str(models)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONUTF8": "1"}, timeout=120)
    assert done.returncode == 1, done.stderr
    for name in doctor.LIBRARIES:
        assert any(line.split()[:3] == ["BROKEN", name, "not"] for line in done.stdout.splitlines()), done.stdout
    assert "pip install -r" in done.stdout and "vit_h.safetensors: width 1280" in done.stdout
    assert "variant unknown" in done.stdout

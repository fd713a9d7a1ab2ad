"""InsightFace's and NudeNet's wheels ask for two builds of OpenCV, which install into one folder: either order works."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

BUILDS = ("opencv-python", "opencv-python-headless")
USE = """
import cv2, numpy as np
assert cv2.__file__.startswith({folder!r}), cv2.__file__
picture = np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)
warped = cv2.warpAffine(picture, np.float32([[1, 0, 2], [0, 1, 3]]), (48, 48))
blob = cv2.dnn.blobFromImage(cv2.resize(warped, (32, 32)), 1 / 255)
coded = cv2.imdecode(cv2.imencode(".png", picture)[1], cv2.IMREAD_COLOR)
assert blob.shape == (1, 3, 32, 32) and np.array_equal(coded, picture)
assert len(cv2.dnn.NMSBoxes([[0, 0, 9, 9], [1, 1, 9, 9]], [0.9, 0.8], 0.25, 0.45)) == 1
"""


def pip(*arguments):
    return subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Both wheels in the versions installed here, from the package index or pip's cache."""
    folder = tmp_path_factory.mktemp("wheels")
    wanted = [f"{name}=={version(name)}" for name in BUILDS]
    done = pip("download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(folder), *wanted)
    if done.returncode:
        pytest.skip(f"pip can't get {' and '.join(wanted)}: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("order", [BUILDS, BUILDS[::-1]], ids=["headless last", "headless first"])
def test_either_order_leaves_a_working_opencv(wheels, tmp_path, order):
    for name in order:
        # Beside what is there, as pip does where neither build asks for the other.
        done = pip(
            "install",
            "-q",
            "--no-compile",
            "--no-deps",
            "--no-index",
            "--find-links",
            str(wheels),
            "--ignore-installed",
            "--prefix",
            str(tmp_path),
            name,
        )
        assert done.returncode == 0, done.stderr
    (package,) = tmp_path.rglob("cv2/__init__.py")
    folder = str(package.parent.parent)
    assert len(list(package.parent.parent.glob("opencv_python*.dist-info"))) == 2
    done = subprocess.run(
        [sys.executable, "-c", USE.format(folder=folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": folder},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr

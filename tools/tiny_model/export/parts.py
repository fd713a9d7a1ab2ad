"""A model's folder as one archive in parts that are small enough to be sent."""

import io
import tarfile
from pathlib import Path

from ....atomic_write import atomic_write

MOST = 15 * 2**20  # bytes of a part


def save_parts(folder: Path, results: Path) -> None:
    """`results`/model.tar.0, .1 and so on: together, in their order, the archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(folder, arcname="tiny")
    content = archive.getvalue()
    results.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(content), MOST)):
        atomic_write(results / f"model.tar.{number}", content[start : start + MOST])

"""Batches for tests: an engine that takes no time and whose pictures tell what they were asked, and what a folder holds."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image

from facegen.api.download import Guard
from facegen.api.local.config import LocalConfig
from facegen.errors import FaceGenError
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.face.likeness import Likeness
from facegen.models.style import style_files
from facegen.standalone.batch.faces import Faces
from facegen.standalone.batch.flavour_choice import FlavourChoice
from facegen.standalone.batch.maker import Maker
from facegen.standalone.batch.outputs import Outputs
from facegen.standalone.batch.pieces import Pieces
from facegen.standalone.batch.run import Batch, made_here
from facegen.standalone.server import made as made_module
from facegen.standalone.server.engines import Engines
from one_by_one import OneByOne


class QuickEngine(OneByOne):
    """A picture's pixels are noise of its seed, prompt, style and face. `fails` may raise for a request."""

    face_analysis = None

    def __init__(self):
        self.embedded, self.requests, self.fails = [], [], lambda request: None

    def embed(self, photo, name="the photo"):
        self.embedded.append(name)
        if float(photo.std()) == 0:
            raise FaceGenError(f"No face found in {name}.")
        identity = torch.full((1, 512), float(photo.mean()) + 0.1)
        return FaceEmbeds(identity), None

    def generate(self, request, face_embeds, watch):
        self.requests.append(request)
        self.fails(request)
        words = f"{request.prompt} {request.style} {request.seed} {float(face_embeds.identity[0, 0])}"
        seed = int(hashlib.sha256(words.encode()).hexdigest()[:8], 16)
        images = torch.rand(request.samples, request.height, request.width, 3, generator=torch.Generator().manual_seed(seed))
        return SimpleNamespace(images=images, flagged=["unsafe" in request.prompt] * request.samples)


def likenesses(images, *_):
    """A picture's likeness is its first pixel's red."""
    return [Likeness(number, float(image[0, 0, 0]), "w600k_r50") for number, image in enumerate(images)]


def quick_likeness(monkeypatch):
    monkeypatch.setattr(made_module, "likenesses", likenesses)


def run(file, out, engine, config=None):
    """A whole batch in this process; its Outputs, closed."""
    config = config or LocalConfig()
    engines = Engines(None, lambda files: engine)
    choice = FlavourChoice(config, engines)
    with Outputs(out) as outputs:
        batch = Batch(file, lambda: Pieces(file.parent, Guard(config.allowed_hosts), list(style_files()), choice), outputs)
        batch.look()
        batch.keep(made_here(batch, Maker(config.flavours, engines, Faces(file.parent, config.allowed_hosts))))
        outputs.write_parquet()
    return outputs


def write(file, *rows):
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return file


def lines(file):
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def held(out):
    """What a finished folder holds, without what differs between two runs: seconds, and the index's order."""
    pixels = {file.name: hashlib.sha256(Image.open(file).tobytes()).hexdigest() for file in (out / "pictures").iterdir()}
    entries = {entry["id"]: {**entry, "seconds": 0} for entry in lines(out / "index.jsonl")}
    assert len(entries) == len(lines(out / "index.jsonl")), "nothing is in the index twice"
    assert sorted(pixels) == sorted(name for entry in entries.values() for name in entry["files"])
    return pixels, entries, lines(out / "errors.jsonl")

"""`batch` as a user starts it, with the tiny model: killed and started again, and the same as a server's pictures."""

import asyncio
import io
import uuid

import numpy as np
import pytest
from PIL import Image

from batch_runs import lines, write
from facegen.api.local.backend import Phase, Work
from facegen.api.local.flavours import FLAVOURS
from facegen.contract import FaceGenRequest
from facegen.models.tiny_files import DRAWN_FACE, TINY
from facegen.standalone.cli import batch as cli
from facegen.standalone.cli.main import main
from facegen.standalone.server.backend import EngineBackend
from facegen.standalone.server.engines import Engines

ROW = {"prompt": "a sailor", "face_image": "face.png", "style": "comic", "num_inference_steps": 21, "width": 128, "height": 128}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "face.png").write_bytes((TINY / DRAWN_FACE).read_bytes())
    return tmp_path


@pytest.fixture
def batch(folder, tiny_engine, monkeypatch, capsys):
    """Runs the command in this process, with the engine that is there; gives its exit code and what it said."""
    monkeypatch.setattr(cli, "load_engine", lambda files, checks: tiny_engine)

    def run(*arguments):
        try:
            code = main(["batch", *map(str, arguments), "--data", str(folder / "data")])
        except SystemExit as stop:
            code = stop.code
        written = capsys.readouterr()
        return code, written.out + written.err

    return run


def test_the_pictures_are_those_of_a_server(batch, folder, tiny_engine, monkeypatch):
    """Row and request with the same seed, of a size whose faces can be judged; in four steps, however many are asked for."""
    set_timesteps = tiny_engine.checkpoint.scheduler.set_timesteps
    monkeypatch.setattr(tiny_engine.checkpoint.scheduler, "set_timesteps", lambda n, **more: set_timesteps(min(4, n), **more))
    row = {**ROW, "seed": 4, "samples": 2, "width": 256, "height": 256}
    code, said = batch(write(folder / "r.jsonl", row), "-o", folder / "out")
    assert code == 0 and "1 to make, 0 made already, 0 that can't be made" in said, said
    (entry,) = lines(folder / "out" / "index.jsonl")
    assert len(entry["likeness"]) == 2 and all(percent > 20 for percent in entry["likeness"]) and entry["seconds"] > 0

    async def served():
        backend = EngineBackend(Engines(None, lambda files: tiny_engine))
        request = FaceGenRequest(**{**row, "face_image": str(folder / "face.png")})
        work = Work(str(uuid.uuid4()), request, FLAVOURS["tiny"])
        await backend.start(work)
        while not (state := (await backend.state([work.id]))[work.id]).has_ended:
            await asyncio.sleep(0.01)
        pictures = await backend.pictures(work.id)
        await backend.close()
        return state, pictures

    state, pictures = asyncio.run(served())
    assert state.phase is Phase.DONE and state.notes["likeness"] == entry["likeness"]
    for name, picture in zip(entry["files"], pictures, strict=True):
        made, wanted = Image.open(folder / "out" / "pictures" / name), Image.open(io.BytesIO(picture))
        assert np.array_equal(np.asarray(made), np.asarray(wanted))


def test_a_bad_row_is_told_and_the_exit_code_says_so(batch, folder):
    code, said = batch(write(folder / "r.jsonl", ROW | {"style": "oil"}, "{"), "-o", folder / "out")
    assert code == 2 and "facegen: 2 could not be made; " in said and "errors.jsonl says which and why" in said
    assert [line["row"] for line in lines(folder / "out" / "errors.jsonl")] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.jsonl", "-o", "out"], "There is no file none.jsonl"),
        (["none.xls", "-o", "out"], "none.xls is none of the kinds of file that are read"),
        (["r.jsonl"], "-o/--out"),
    ],
)
def test_arguments_that_cannot_be(batch, folder, monkeypatch, arguments, says):
    monkeypatch.chdir(folder)
    code, said = batch(*arguments)
    assert code == 2 and says in said

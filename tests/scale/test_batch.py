"""A batch in one process, which is killed in the middle. It has two rows for each request of the storm, see storm.py."""

import random
import sys

import pytest
from PIL import Image

from batch_runs import QuickEngine, held, quick_likeness, run, write
from killed_batch import killed_runs
from storm import MANY

ROWS = 2 * MANY
TORN, MALFORMED = ROWS // 3, ROWS // 2  # the lines of rows that can't be made


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_three_times_it_holds_what_an_undisturbed_run_does(tmp_path, monkeypatch):
    (tmp_path / "people").mkdir()
    for number in range(20):
        Image.linear_gradient("L").convert("RGB").crop((0, 0, 256, 200 + number)).save(tmp_path / "people" / f"{number}.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "people" / "0.png").read_bytes()[:300])
    rows = [
        {"prompt": f"a sailor, {n}", "face_image": f"people/{n % 20}.png", "width": 64, "height": 64, "track_id": str(n)}
        for n in range(1, ROWS + 1)
    ]
    rows[TORN - 1]["face_image"] = "torn.png"
    rows[MALFORMED - 1] = '{"prompt": "a sailor", '
    file = write(tmp_path / "rows.jsonl", *rows)
    with monkeypatch.context() as patch:
        quick_likeness(patch)
        run(file, tmp_path / "calm", QuickEngine())
    calm = held(tmp_path / "calm")
    pictures, entries, errors = calm
    assert len(pictures) == len(entries) == ROWS - 2
    assert sorted(error["row"] for error in errors) == [TORN, MALFORMED] and all(error["errors"] for error in errors)
    killed_runs(file, tmp_path / "out", sorted(random.sample(range(1, ROWS * 3 // 4), 3)), 0)
    assert held(tmp_path / "out") == calm

"""tools/gpu/measure.sh, small: the parts that need no ComfyUI, and one that fails for want of it."""

import json
import os
import re
import subprocess
import sys

import pytest

from pack import ROOT

PARTS = "machine faceid_sd15 safety embedding together"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measure.sh is for Linux")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """(what was printed, the table, the figures)."""
    out = tmp_path_factory.mktemp("measured")
    known = {"OUT": str(out), "PYTHON": sys.executable, "COMFYUI_PATH": str(out / "no ComfyUI"), "PARTS": PARTS, "LIMIT": "600"}
    done = subprocess.run(
        ["bash", ROOT / "tools" / "gpu" / "measure.sh", "--small"],
        env={**os.environ, **known},
        capture_output=True,
        text=True,
        timeout=620,
    )
    assert done.returncode == 0, done.stderr
    figures = [json.loads(line) for line in (out / "measure.jsonl").read_text().splitlines()]
    return done.stdout, (out / "measure.md").read_text(), figures


def test_the_table_comes_last_and_names_what_was_measured_on(measured):
    printed, table, figures = measured
    assert printed.endswith(table)
    (machine,) = (line for line in figures if line["part"] == "machine")
    assert table.startswith(f"Measured on {machine['card']}, torch {machine['torch']}, Python {machine['python']}:\n")
    assert machine["found"]["cores"] == len(os.sched_getaffinity(0)) and "torch 2." in machine["found"]["packages"]


def test_each_checker_has_its_speeds(measured):
    _, table, figures = measured
    rows = re.findall(r"^\| (\w+), two layers \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE)
    assert [row[:2] for row in rows] == [(name, batch) for name in ("concepts", "classifier") for batch in "12"]
    lines = [line for line in figures if line["part"] == "safety"]
    for row, line in zip(rows, lines, strict=True):
        assert row[2:] == (f"{line['ours']:.1f}", f"{line['library']:.1f}", f"{line['ratio']:.2f}")
        assert line["ours"] > 0 and line["library"] > 0 and line["ratio"] == pytest.approx(line["ours"] / line["library"])


def test_requests_together_are_beside_one_by_one(measured):
    _, table, figures = measured
    (line,) = (line for line in figures if line["part"] == "together")
    assert [*line["rows"]] == ["1", "2"] and line["rows"]["1"]["ratio"] == 1 and line["rows"]["2"]["differ"] < 1e-4
    shown = re.findall(r"^\| SD1\.5, 32 wide, 64×64, 21 steps, \w+ \| (\d) \| ([\d.]+) \| ([\d.]+) \|", table, re.MULTILINE)
    assert shown == [(n, f"{way['per_minute']:.1f}", f"{way['ratio']:.2f}") for n, way in line["rows"].items()]


def test_the_queue_that_makes_as_many_at_once_as_pay_is_beside_one_after_the_other(measured):
    _, table, figures = measured
    (line,) = (line for line in figures if line["part"] == "together")
    one, pays = line["rates"]["one"], line["rates"]["as many as pay"]
    assert one["batches"] == [1] * 6 and pays["batches"] == [1, 1, 2, 2], "until as many are known to pay"
    row = f"64×64, 21 steps, {line['precision']} | as many as pay | {pays['per_minute']:.1f} |"
    assert f"{row} {pays['per_minute'] / one['per_minute']:.2f} | | |" in re.sub(" +", " ", table)


def test_a_provider_that_is_not_there_is_said(measured):
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" in offered:
        pytest.skip("ONNX Runtime has CUDA here")
    assert f"| skipped: ONNX Runtime {onnxruntime.__version__} here has {', '.join(offered)}, and not CUDA |" in measured[1]


def test_a_part_that_fails_leaves_the_others_and_is_said(measured):
    printed, table, figures = measured
    assert "No module named 'comfy'" in printed
    ended = {line["name"]: line["rc"] for line in figures if line["part"] == "ended"}
    assert ended == {"machine": 0, "faceid_sd15": 1, "safety": 0, "embedding": 0, "together": 0}
    assert re.search(r"^Parts that did not end well: faceid_sd15 \(exit status 1, \d+ s\)\.$", table, re.MULTILINE)

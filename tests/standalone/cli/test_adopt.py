"""`adopt`: files in, files out."""

import json

import pytest

import old_graphs
from facegen.standalone.cli.main import main


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(old_graphs.by_preset() | {"extra": {"name": "Grüße ☺"}}), encoding="utf-8")
    return path


def test_it_writes_the_adopted_graph(file, tmp_path, capsys):
    out = tmp_path / "new" / "graph.json"
    assert main(["adopt", str(file), "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert "IPAdapterFaceID 4: now FaceGenAdoptedIPAdapterFaceID" in said and f"wrote {out}" in said
    text = out.read_text(encoding="utf-8")
    assert json.loads(text)["nodes"][3]["type"] == "FaceGenAdoptedIPAdapterFaceID"
    assert "Grüße ☺" in text and "\n" not in text  # as the file was


def test_native_and_the_base(file, tmp_path, capsys):
    out = tmp_path / "graph.json"
    assert main(["adopt", str(file), "-o", str(out), "--native", "--base", "sdxl"]) == 0
    assert "means ip-adapter-faceid-plusv2_sdxl.bin" in capsys.readouterr().err
    assert "FaceGenApplyFaceID" in out.read_text(encoding="utf-8")


def test_lines_stay_lines(file, tmp_path):
    file.write_text("\ufeff" + json.dumps(old_graphs.to_api(old_graphs.by_parts()), indent=2), encoding="utf-8")
    out = tmp_path / "graph.json"
    assert main(["adopt", str(file), "-o", str(out)]) == 0
    assert out.read_text(encoding="utf-8").count("\n") > 20


def test_what_is_there_already_stays(file, capsys):
    before = file.read_bytes()
    assert main(["adopt", str(file), "-o", str(file)]) == 2
    assert "is there already. Delete it first" in capsys.readouterr().err and file.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps(old_graphs.portrait([], (1, 0))), "There is nothing to adopt in"),
        ('{"nodes": [', "can't be read as a graph"),
        ("[1, 2]", "This is no graph of ComfyUI's"),
        ("\x89PNG", "can't be read as a graph"),
        ("[" * 100_000, "can't be read as a graph"),
    ],
)
def test_bad_files(file, tmp_path, capsys, text, says):
    file.write_text(text, encoding="latin-1")
    assert main(["adopt", str(file), "-o", str(tmp_path / "new.json")]) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "new.json").exists()


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["adopt", str(tmp_path / "gone.json"), "-o", str(tmp_path / "new.json")]) == 2
    assert "gone.json can't be read" in capsys.readouterr().err

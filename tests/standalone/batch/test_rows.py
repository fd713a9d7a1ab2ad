"""Requests files, whatever is in them: each row by its number, and one that can't be read is no end."""

import json

import pytest

from facegen.errors import FaceGenError
from facegen.standalone.batch import rows
from facegen.standalone.batch.rows import read_rows


def found(file):
    return [(row.number, row.fields or row.problem) for row in read_rows(file)]


def test_json_lines(tmp_path):
    file = tmp_path / "r.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1, "b": null, "c": ""}\n\n[1]\nnonsense\n{"a": ' + b"[" * 100_000 + b'\n{"a": "last"}')
    (one, a), (two, list_), (three, nonsense), (four, deep), (five, last) = found(file)
    assert (one, a) == (1, {"a": 1}) and (five, last) == (6, {"a": "last"})
    assert two == 3 and list_.startswith("The line must be a JSON object")
    assert (three, four) == (4, 5) and "The line is no JSON" in nonsense and "The line is no JSON" in deep


def test_a_line_without_end_takes_no_memory_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "LONGEST", 1 << 20)
    file = tmp_path / "r.jsonl"
    file.write_text(json.dumps({"a": "x" * (3 << 20)}) + '\n{"a": 1}\n')
    assert found(file) == [(1, "The line has more than 1 MB."), (2, {"a": 1})]


def test_csv(tmp_path):
    file = tmp_path / "r.csv"
    file.write_text(
        '\ufeffprompt,style,seed\n"two\nlines","[""comic"", ""anime""]",\n[a|b] (red),,7\na,b,c,d\n', encoding="utf-8"
    )
    first, second, (number, problem) = found(file)
    assert first == (1, {"prompt": "two\nlines", "style": ["comic", "anime"]})
    assert second == (2, {"prompt": "[a|b] (red)", "seed": "7"})
    assert number == 3 and problem == "The row has more cells than the header, which has 3."


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = tmp_path / "r.parquet"
    table = {"prompt": ["a", "b"], "style": [["comic"], []], "width": [64.0, float("nan")], "seed": [None, 3]}
    parquet.write_table(pa.table(table), file)
    assert found(file) == [(1, {"prompt": "a", "style": ["comic"], "width": 64.0}), (2, {"prompt": "b", "seed": 3})]
    file.write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(FaceGenError, match="can't be read as Parquet"):
        found(file)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("r.xlsx", b"", "r.xlsx is none of the kinds of file that are read: .jsonl"),
        ("none.jsonl", None, "There is no file"),
        ("r.csv", b"prompt\n\xff\xfe\n", "can't be read: 'utf-8'"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FaceGenError, match=says):
        found(tmp_path / name)

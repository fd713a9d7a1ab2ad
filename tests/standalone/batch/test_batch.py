"""A batch in one process: what a row becomes, what stops it doesn't cost, and what is wrong is told by row and field."""

import json
import sys

import pytest
from PIL import Image

from batch_runs import held, lines, run, write
from facegen.api.local.config import LocalConfig
from facegen.api.local.flavours import FLAVOURS
from facegen.errors import FaceGenError
from facegen.standalone.batch import faces, outputs
from facegen.standalone.batch import run as run_module
from killed_batch import killed_runs

FACES = ("anna.png", "people/a.png", "people/b.png")
SMALL = {"width": 64, "height": 64, "prompt": "a sailor"}


def test_faces_times_prompts_times_styles(photos, engine):
    row = {**SMALL, "face_image": ["anna.png", "people"], "prompt": ["one", "two"], "style": ["comic", "anime"], "track_id": 7}
    run(write(photos / "r.jsonl", row), photos / "out", engine)
    entries = lines(photos / "out" / "index.jsonl")
    made = {tuple(entry["request"][name] for name in ("face_image", "prompt", "style")) for entry in entries}
    assert made == {(f, p, s) for f in FACES for p in ("one", "two") for s in ("comic", "anime")}
    assert len(entries) == 12 and {entry["track_id"] for entry in entries} == {7} and {entry["row"] for entry in entries} == {1}
    assert len(engine.embedded) == 3, "each photo once"
    (flavour,) = {entry["flavour"] for entry in entries}
    picture = Image.open(photos / "out" / "pictures" / entries[0]["files"][0])
    assert flavour == "tiny" and picture.size == (64, 64) and json.loads(picture.info["parameters"]) == entries[0]


def test_a_photo_under_two_names_is_embedded_once(photos, engine):
    rows = [{**SMALL, "face_image": name} for name in ("anna.png", "people/b.png", "twin.png", "anna.png")]
    run(write(photos / "r.jsonl", *rows), photos / "out", engine)
    assert len(engine.embedded) == 2 and len(engine.requests) == 4


def test_photos_of_one_name_in_several_folders(photos, engine):
    """Pictures and index tell them apart, and nothing of where on this machine they are."""
    for name in ("p1", "p2"):
        (photos / name).mkdir()
        (photos / name / "1.png").write_bytes((photos / "anna.png").read_bytes())
    far = photos / "elsewhere"
    far.mkdir()
    sources = ["../p1", "../p2/1.png", "1.png", str(photos / "anna.png")]
    (far / "1.png").write_bytes((photos / "twin.png").read_bytes())
    run(write(far / "r.jsonl", {**SMALL, "face_image": sources}), photos / "out", engine)
    entries = lines(photos / "out" / "index.jsonl")
    assert {entry["request"]["face_image"] for entry in entries} == {"../p1/1.png", "../p2/1.png", "1.png", "anna.png"}
    for entry in entries:
        picture = Image.open(photos / "out" / "pictures" / entry["files"][0])
        assert json.loads(picture.info["parameters"]) == entry and str(photos) not in picture.info["parameters"]


def test_the_size_is_the_photos_where_the_row_has_none(photos, engine):
    run(write(photos / "r.jsonl", {"prompt": "a", "face_image": "anna.png"}), photos / "out", engine)
    (entry,) = lines(photos / "out" / "index.jsonl")
    assert Image.open(photos / "out" / "pictures" / entry["files"][0]).size == (256, 200)


def test_the_same_row_twice_is_two_pictures_and_a_seed_makes_them_alike(photos, engine):
    row = {**SMALL, "face_image": "anna.png"}
    run(write(photos / "r.jsonl", row, row, row | {"seed": 5}, row | {"seed": 5}), photos / "out", engine)
    seeds = [entry["seeds"] for entry in lines(photos / "out" / "index.jsonl")]
    assert len(seeds) == 4 and len({tuple(one) for one in seeds}) == 3 and seeds.count([5]) == 2


def test_the_likeliest_of_several_seeds(photos, engine):
    row = {**SMALL, "face_image": "anna.png"}
    run(write(photos / "r.jsonl", {**row, "best_of": 5, "samples": 2, "seed": 10}), photos / "out", engine)
    (entry,) = lines(photos / "out" / "index.jsonl")
    assert [request.seed for request in engine.requests] == [10, 11, 12, 13, 14]
    assert {request.samples for request in engine.requests} == {1} and len(entry["files"]) == 2
    run(write(photos / "alone.jsonl", *({**row, "seed": seed} for seed in range(10, 15))), photos / "alone", engine)
    ranked = sorted(lines(photos / "alone" / "index.jsonl"), key=lambda one: -one["likeness"][0])
    for name in ("seeds", "likeness"):
        assert entry[name] == [one[name][0] for one in ranked[:2]]
    best, same = (photos / "out" / "pictures" / entry["files"][0]), (photos / "alone" / "pictures" / ranked[0]["files"][0])
    assert Image.open(best).tobytes() == Image.open(same).tobytes(), "its seed alone makes it again"


def test_an_unsafe_picture_is_never_the_likeliest(photos, engine, monkeypatch):
    generate = engine.generate

    def first_is_unsafe(request, *args, **options):
        result = generate(request, *args, **options)
        if request.seed == 0:
            result.images[:] = 1.0
            result.flagged = [True]
        return result

    engine.generate = first_is_unsafe
    run(write(photos / "r.jsonl", {**SMALL, "face_image": "anna.png", "best_of": 3, "seed": 0}), photos / "out", engine)
    (entry,) = lines(photos / "out" / "index.jsonl")
    assert entry["seeds"] != [0] and entry["flagged"] == [False]


BAD = [
    ('{"face_image": "anna.png", "prompt": ', "row", "The line is no JSON"),
    ({"face_image": "anna.png", "prompt": "a", "stile": "comic"}, "stile", "There is no field 'stile' in face_gen."),
    ({"face_image": "anna.png"}, "prompt", "The prompt field is required."),
    ({"prompt": "a"}, "face_image", "The face_image field is required."),
    (
        {"face_image": "anna.png", "prompt": "a", "style": ["comic", "drawn"]},
        "style",
        "The style field must be one of",
    ),
    ({"face_image": "nobody.png", "prompt": "a"}, "face_image", "There is no photo"),
    ({"face_image": "torn.png", "prompt": "a"}, "face_image", "The picture is damaged"),
    ({"face_image": "grey.png", "prompt": ["a", "b"]}, "face_image", "No face found in grey.png."),
    ({"face_image": "http://127.0.0.1/a.png", "prompt": "a"}, "face_image", "127.0.0.1 is not a public address"),
    ({"face_image": "http://localhost:9/a.png", "prompt": "a"}, "face_image", "localhost is not a public address"),
    ({"face_image": "file:///etc/passwd", "prompt": "a"}, "face_image", "Only http and https URLs can be used."),
    ({"face_image": "data:image/png;base64,xx!", "prompt": "a"}, "face_image", "This is neither a link nor base64."),
    ({"face_image": "anna.png", "prompt": "a", "best_of": 65}, "best_of", "must be between 1 and 64, got 65"),
    ({"face_image": "anna.png", "prompt": "a", "best_of": "many"}, "best_of", "must be of type integer"),
    ({"face_image": "anna.png", "prompt": "a", "endpoint": "video"}, "endpoint", "must be one of face_gen, head_shot"),
    ({"face_image": "anna.png", "prompt": "a", "endpoint": "flux_headshot"}, "endpoint", "flux_headshot can't be made."),
    ({"face_image": "anna.png", "prompt": "a", "model_id": "sdx"}, "model_id", "There is no flavour 'sdx' for face_gen"),
    ({"face_image": "anna.png", "prompt": "a", "model_id": "sdxl"}, "model_id", "sdxl needs real model files"),
    (
        {"face_image": "anna.png", "prompt": "a", "webhook": "https://example.org"},
        "webhook",
        "nobody waits for",
    ),
    ({"face_image": "anna.png", "prompt": "a", "width": [64]}, "width", "can't be a list"),
    ({"face_image": {"a": 1}, "prompt": "a"}, "face_image", "can't be a list or an object"),
]


def test_what_is_wrong_is_told_by_row_and_field_and_the_others_are_made(photos, engine):
    good = {**SMALL, "face_image": "anna.png"}
    run(write(photos / "r.jsonl", *(row for row, *_ in BAD), good), photos / "out", engine)
    told = lines(photos / "out" / "errors.jsonl")
    by_row = {}
    for line in told:
        by_row.setdefault(line["row"], []).append(line["errors"])
    for number, (row, field, words) in enumerate(BAD, 1):
        assert any(words in " ".join(errors.get(field, [])) for errors in by_row.get(number, [])), (row, by_row.get(number))
    made = {entry["row"] for entry in lines(photos / "out" / "index.jsonl")}
    assert made == {5, len(BAD) + 1}, "of a row with one bad style the other is made"
    assert len(by_row[8]) == 2 and engine.embedded.count("grey.png") == 1, "a photo without a face is looked at once"


def told(photos, engine, row):
    """The lines of the errors of one row, and how many requests of it are made."""
    run(write(photos / "r.jsonl", row), photos / "out", engine)
    return [{**line, "row": None} for line in lines(photos / "out" / "errors.jsonl")], len(engine.requests)


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"style": "foo", "best_of": 100, "width": "abc"}, {"style", "best_of", "width"}),
        ({"webhook": "http://a.b", "style": "foo", "best_of": 100}, {"webhook", "style", "best_of"}),
        ({"promt": "b", "base64": True, "face_image": "none.png"}, {"promt", "base64", "face_image"}),
        ({"face_image": "http://127.0.0.1/a.png", "model_id": "sdx", "seed": "x"}, {"face_image", "model_id", "seed"}),
        ({"face_image": None, "endpoint": "video", "stile": "b", "width": []}, {"face_image", "endpoint", "stile"}),
        ({"face_image": "empty", "height": "tall"}, {"face_image", "height"}),
        ({"model_id": "sdxl", "style": "foo", "prompt": ""}, {"model_id", "style", "prompt"}),
    ],
)
def test_all_that_is_wrong_with_a_row_is_told_at_once(photos, engine, wrong, fields):
    (photos / "empty").mkdir()
    ((line,), made) = told(photos, engine, {"face_image": "anna.png", "prompt": "x", **wrong})
    assert set(line["errors"]) == fields and not made and "request" not in line


def test_what_is_wrong_with_a_whole_row_and_with_some_of_its_combinations(photos, engine):
    """The former is told once, and nothing of the row is made; each of the latter once, however often it is combined."""
    (photos / "empty").mkdir()
    row = {"face_image": ["anna.png", "none.png", "empty"], "prompt": ["a", "b"], "style": ["comic", "drawn"]}
    found, made = told(photos, engine, row)
    assert [list(line["errors"]) for line in found] == [["style"], ["face_image"], ["face_image"]] and made == 2
    engine.requests.clear()
    found, made = told(photos, engine, {**row, "width": "abc", "best_of": 0})
    names = [sorted(line["errors"]) for line in found]
    assert names == [["best_of", "width"], ["style"], ["face_image"], ["face_image"]] and made == 0


def test_a_bad_row_changes_no_id_of_a_good_one(photos, engine):
    """Rows that are alike are numbered to tell them apart, and one that isn't made has no number."""
    row = {**SMALL, "face_image": "anna.png"}
    ids = []
    bad = [{**row, name: "x"} for name in ("best_of", "webhook", "promt", "width", "model_id")]
    for name, rows in {"alone": [row], "among": [*bad, row]}.items():
        run(write(photos / "r.jsonl", *rows), photos / name, engine)
        ids += [entry["id"] for entry in lines(photos / name / "index.jsonl")]
    assert len(ids) == 2 and len(set(ids)) == 1


def test_what_is_refused_is_not_offered(photos, engine):
    ((line,), _) = told(photos, engine, {"face_image": "anna.png", "promt": "a sailor"})
    (said,) = line["errors"]["promt"]
    offered = said.partition("Its fields are ")[2].strip(".").split(", ")
    assert {"prompt", "seed", "track_id", "best_of"} < set(offered) and not {"base64", "webhook"} & set(offered)


def test_which_of_several_cannot_be_made(photos, engine, monkeypatch):
    """Before anything is made the value that is wrong, and later the combination; nothing of what a URL asks with."""

    async def download(url, limits, allow):
        raise faces.DownloadError("example.org can't be reached.")

    monkeypatch.setattr(faces, "download", download)
    url = "https://example.org/a.png?token=secret"
    found, made = told(photos, engine, {**SMALL, "face_image": url, "style": ["comic", "anime", "drawn"]})
    assert [line.get("request") for line in found] == [{"style": "drawn"}, {"style": "anime"}, {"style": "comic"}] and not made
    row = {**SMALL, "face_image": ["people/a.png", url], "prompt": ["one", "two"], "style": ["comic"]}
    found, made = told(photos, engine, row)
    of_url = {"face_image": "https://example.org/a.png"}
    assert [line["request"] for line in found] == [of_url | {"prompt": "one"}, of_url | {"prompt": "two"}] and made == 2
    found, _ = told(photos, engine, {**SMALL, "face_image": url})
    assert "request" not in found[0] and "secret" not in (photos / "out" / "errors.jsonl").read_text()


def test_an_own_host_may_be_asked_when_the_settings_allow_it(photos, engine, monkeypatch):
    asked = []

    async def download(url, limits, allow):
        asked.append((url, tuple(allow)))
        return (photos / "anna.png").read_bytes()

    monkeypatch.setattr(faces, "download", download)
    url = "http://nas.local/anna.png?token=secret"
    config = LocalConfig(allowed_hosts=("nas.local",))
    run(write(photos / "r.jsonl", *[{**SMALL, "face_image": url}] * 3), photos / "out", engine, config)
    assert asked == [(url, ("nas.local",))] and len(engine.requests) == 3
    files = [file for file in (photos / "out").rglob("*") if file.is_file()]
    assert not any(b"secret" in file.read_bytes() for file in files), "what a URL asks with is in no picture and no index"


@pytest.mark.parametrize("where", ["made", "written", "half"])
def test_a_stop_anywhere_costs_nothing_that_was_made(photos, engine, where, monkeypatch):
    """As kill -9 leaves it: in the middle of a picture, between pictures and index, and in the middle of a line."""
    rows = [{**SMALL, "face_image": "people", "samples": 2, "prompt": str(number)} for number in range(4)]
    run(write(photos / "r.jsonl", *rows, "{"), photos / "calm", engine)
    calm, engine.requests = held(photos / "calm"), []

    class Killed(BaseException):
        pass

    def killed(*_):
        if len(engine.requests) == 4:
            raise Killed

    if where == "made":
        engine.fails = killed
    with monkeypatch.context() as patch:
        if where == "written":
            append = outputs.Outputs._append
            patch.setattr(outputs.Outputs, "_append", lambda self, entry: (killed(), append(self, entry)))
        if where == "half":
            write_line = outputs._write_line

            def half(file, content):
                if len(engine.requests) == 4 and "id" in content:
                    file.write(json.dumps(content).encode()[:50])
                    file.flush()
                    raise Killed
                write_line(file, content)

            patch.setattr(outputs, "_write_line", half)
        with pytest.raises(Killed):
            run(photos / "r.jsonl", photos / "out", engine)
    (photos / "out" / "pictures" / ".x_0.png.ab.part").write_bytes(b"half a file")
    engine.fails = lambda request: None
    run(photos / "r.jsonl", photos / "out", engine)
    assert held(photos / "out") == calm
    assert len(engine.requests) == 8 + (where == "made")
    run(photos / "r.jsonl", photos / "out", engine)
    assert held(photos / "out") == calm and len(engine.requests) == 8 + (where == "made")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_twice_it_holds_what_an_undisturbed_run_does(photos, engine):
    rows = [{**SMALL, "face_image": "people", "prompt": str(n), "best_of": 1 + n % 2, "samples": 1 + n % 2} for n in range(30)]
    run(write(photos / "r.jsonl", *rows, "{", {**SMALL, "face_image": "torn.png"}), photos / "calm", engine)
    killed_runs(photos / "r.jsonl", photos / "out", (3, 40), 0.05)
    assert held(photos / "out") == held(photos / "calm")


def test_a_picture_that_was_deleted_is_made_again_and_another_model_is_another_picture(photos, engine):
    file = write(photos / "r.jsonl", {**SMALL, "face_image": "anna.png"})
    run(file, photos / "out", engine)
    (entry,) = lines(photos / "out" / "index.jsonl")
    (photos / "out" / "pictures" / entry["files"][0]).unlink()
    run(file, photos / "out", engine)
    assert lines(photos / "out" / "index.jsonl")[0]["id"] == entry["id"] and len(engine.requests) == 2
    other = LocalConfig(flavours={**FLAVOURS, "mine": FLAVOURS["tiny"]}, default="mine")
    run(file, photos / "out", engine, other)
    assert [one["flavour"] for one in lines(photos / "out" / "index.jsonl")] == ["tiny", "mine"]


def test_what_nobody_thought_of_fails_its_own_row_until_it_is_all_that_happens(photos, engine, monkeypatch):
    def fails(request):
        if request.prompt == "odd":
            raise RuntimeError("a kernel is wrong")

    engine.fails = fails
    rows = [{**SMALL, "face_image": "anna.png", "prompt": prompt} for prompt in ("odd", "even", "odd")]
    run(write(photos / "r.jsonl", *rows), photos / "out", engine)
    told = lines(photos / "out" / "errors.jsonl")
    assert [line["errors"] for line in told] == [{"row": ["The engine failed: RuntimeError: a kernel is wrong"]}] * 2
    monkeypatch.setattr(run_module, "MOST_UNFORESEEN", 3)
    with pytest.raises(FaceGenError, match="The last 3 pieces failed .* a kernel is wrong Nothing more is tried"):
        run(write(photos / "r.jsonl", *rows[:1] * 10), photos / "out", engine)


def test_two_batches_at_one_folder(photos, engine):
    with outputs.Outputs(photos / "out"), pytest.raises(FaceGenError, match="Another batch writes into"):
        outputs.Outputs(photos / "out").__enter__()


def test_a_full_disk_ends_it_in_words(photos, engine, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "atomic_write", full)
    with pytest.raises(FaceGenError, match="can't be written: No space left on device. What is made stays"):
        run(write(photos / "r.jsonl", {**SMALL, "face_image": "anna.png"}), photos / "out", engine)


def test_few_pieces_are_in_memory_however_many_rows(photos, engine, monkeypatch):
    monkeypatch.setattr(run_module, "WINDOW", 10)
    sizes = []
    groups = run_module.groups
    monkeypatch.setattr(run_module, "groups", lambda window: sizes.append(len(window)) or groups(window))
    rows = [{**SMALL, "face_image": name, "prompt": str(n)} for n in range(12) for name in ("anna.png", "people/a.png")]
    run(write(photos / "r.jsonl", *rows), photos / "out", engine)
    assert sizes == [10, 10, 4]
    order = [entry["request"]["face_image"] for entry in lines(photos / "out" / "index.jsonl")][:10]
    assert order == sorted(order) and len(set(order)) == 2, "each face's pieces follow each other"


def test_the_index_as_parquet(photos, engine):
    parquet = pytest.importorskip("pyarrow.parquet")
    run(write(photos / "r.jsonl", {**SMALL, "face_image": "anna.png", "track_id": "x", "samples": 2}), photos / "out", engine)
    (row,) = parquet.read_table(photos / "out" / "index.parquet").to_pylist()
    (entry,) = lines(photos / "out" / "index.jsonl")
    assert {**row, "models": json.loads(row["models"]), "request": json.loads(row["request"])} == entry

"""`models download`: from a server that behaves, breaks off, or lies."""

import hashlib
import http.server
import io
import re
import shutil
import threading
import zipfile
from pathlib import Path

import pytest

from facegen.models.face.packs.catalogue import CATALOGUE, CataloguedPack, Download
from facegen.standalone.cli import file_download
from facegen.standalone.cli.main import main
from onnx_files import save_pack

FACES = [(0.05, 0.30, 0.20, 0.50, 0.95)]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        data = server.files.get(self.path)
        if data is None:
            return self.send_error(404)
        start = 0
        if server.ranges and (match := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start = int(match[1])
            if start >= len(data):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = start + server.break_after.pop(0) if server.break_after else len(data)
        self.wfile.write(data[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.break_after, server.ranges = {}, [], [], True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def zipped(folder: Path, prefix="") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
    return packed.getvalue()


@pytest.fixture
def data(tmp_path):
    folder = save_pack(tmp_path / "source", FACES)
    (folder / "photo.exe").write_bytes(b"not a model")
    return zipped(folder, "p/")


@pytest.fixture
def offer(server, data, monkeypatch):
    """offer(size=…, sha256=…) puts the archive `p.zip` on the server and pack `p` into the catalogue."""

    whole, digest = len(data), hashlib.sha256(data).hexdigest()

    def put(content=data, size=whole, sha256=digest):
        server.files["/p.zip"] = content
        pack = CataloguedPack("p", "free", (("det_10g.onnx", 1),), (Download(f"{server.url}/p.zip", size, sha256),))
        monkeypatch.setitem(CATALOGUE, "p", pack)

    put()
    return put


@pytest.fixture
def get(tmp_path, capsys):
    """Runs the command; gives exit code, output, and the files in the models folder."""

    def run(name="p"):
        code = main(["models", "download", name, "--models", str(tmp_path / "models")])
        out = "".join(capsys.readouterr())
        root = tmp_path / "models"
        return code, out, sorted(f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file())

    return run


INSTALLED = [f"insightface/models/p/p/{name}" for name in ("det_10g.onnx", "w600k_r50.onnx")]


def test_a_pack_is_fetched_checked_and_found(get, offer, server, tmp_path):
    code, out, files = get()
    assert code == 0 and files == INSTALLED and "licence free" in out
    assert "100 %" in out and "is installed in" in out
    from facegen.models.face.packs.find import find_packs

    assert find_packs([str(tmp_path / "models" / "insightface")]) == {"p": tmp_path / "models/insightface/models/p/p"}
    assert get()[0] == 0 and len(server.asked) == 1  # a second time there is nothing to do


def test_what_breaks_off_is_gone_on_with(get, offer, server, data):
    server.break_after = [1000, 500]
    code, _, files = get()
    assert code == 0 and files == INSTALLED
    assert [r for _, r in server.asked] == [None, "bytes=1000-", "bytes=1500-"]


def test_after_giving_up_the_next_run_goes_on(get, offer, server):
    server.break_after = [1000, 10, 10]
    code, out, files = get()
    assert code == 2 and "the connection ended early" in out and "goes on" in out
    assert files == ["insightface/models/.p.download/p.zip.part"]
    code, _, files = get()
    assert code == 0 and files == INSTALLED and server.asked[-1][1] == "bytes=1020-"


def test_a_server_without_ranges_begins_anew(get, offer, server):
    server.ranges, server.break_after = False, [1000]
    code, _, files = get()
    assert code == 0 and files == INSTALLED


@pytest.mark.parametrize("size_known", [True, False])
def test_a_file_that_is_not_the_published_one_is_deleted(get, offer, data, size_known):
    wrong = bytearray(data)
    wrong[len(wrong) // 2] ^= 1
    offer(bytes(wrong), size=len(data) if size_known else None)
    code, out, files = get()
    assert code == 2 and "is not the file that was published" in out and files == []


def test_a_size_that_is_not_published_is_no_hindrance(get, offer, data):
    offer(size=None)
    assert get()[2] == INSTALLED


@pytest.mark.parametrize("what", ["cut", "no zip", "no pack", "escape"])
def test_a_bad_archive_leaves_nothing(get, offer, data, tmp_path, what):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../evil.onnx" if what == "escape" else "a.onnx", b"x")
    content = {"cut": data[:-2000], "no zip": b"<html>"}.get(what, packed.getvalue())
    offer(content, size=None, sha256=None)
    code, out, files = get()
    assert code == 2 and files in ([], ["insightface/models/.p.download/p.zip"])
    assert {"cut": "unpacked", "no zip": "unpacked", "no pack": "No InsightFace model pack", "escape": "would leave"}[
        what
    ] in out
    assert not list(tmp_path.rglob("evil.onnx"))
    assert not list((tmp_path / "models/insightface/models").iterdir())


def test_single_files_make_a_pack_too(get, server, tmp_path, monkeypatch):
    folder = save_pack(tmp_path / "source", FACES)
    downloads = []
    for file in sorted(folder.glob("*.onnx")):
        server.files[f"/{file.name}"] = file.read_bytes()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        downloads.append(Download(f"{server.url}/{file.name}", file.stat().st_size, digest))
    monkeypatch.setitem(CATALOGUE, "p", CataloguedPack("p", "free", (), tuple(downloads)))
    assert get()[2] == ["insightface/models/p/det_10g.onnx", "insightface/models/p/w600k_r50.onnx"]


def test_errors_name_their_cure(get, offer, server, monkeypatch, tmp_path, capsys):
    assert "There are: buffalo_l, buffalo_m" in get("nope")[1]
    server.files.clear()
    assert "the server answers 404" in get()[1]
    offer()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 10**6))
    assert "1 MB free" in get()[1]
    monkeypatch.undo()
    monkeypatch.setitem(CATALOGUE, "p", CataloguedPack("p", "free", (), (Download("http://127.0.0.1:9/p.zip"),)))
    code, out, files = get()
    assert code == 2 and "can't be downloaded" in out and files == []
    (tmp_path / "models/insightface/models/p").mkdir(parents=True)
    (tmp_path / "models/insightface/models/p/mine.txt").write_text("kept")
    assert "Delete or rename it" in get()[1]
    assert main(["models", "download", "p"]) == 2 and "--models DIR" in capsys.readouterr().err


def test_list_says_licence_size_and_what_is_installed(tmp_path, capsys):
    save_pack(tmp_path / "insightface/models/buffalo_l", FACES)
    assert main(["models", "list", "--models", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "buffalo_l: installed, 289 MB, non-commercial research only" in out and "auraface: 278 MB, Apache-2.0" in out
    assert all(len(d.sha256) == 64 for pack in CATALOGUE.values() for d in pack.downloads)


def test_the_bar_is_one_line_in_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    bar = file_download.Bar("p.zip", out)
    for have in range(0, 101):
        bar(have * 10**6, 100 * 10**6)
    assert out.getvalue().count("\n") == 1 and out.getvalue().endswith("100 %  100 MB of 100 MB\n")

"""`models download`: from a server that behaves, breaks off, or lies."""

import hashlib
import http.server
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from facegen.models.face.packs.catalogue import CATALOGUE, CataloguedPack
from facegen.models.identity.raw_embedding import INSTANTID_SIZE
from facegen.models.published import MIRROR_VARIABLE, PUBLISHED, STARTERS, Download, PublishedFile
from facegen.standalone.cli import file_download
from facegen.standalone.cli.main import main
from onnx_files import save_pack
from pack import ROOT

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

    def run(*names):
        code = main(["models", "download", *(names or ("p",)), "--models", str(tmp_path / "models")])
        out = "".join(capsys.readouterr())
        root = tmp_path / "models"
        return code, out, sorted(f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file())

    return run


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_its_help_breaks_no_name(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        main(["models", "download", "--help"])
    shown = {word.strip(".") for word in re.findall(r"[\w.-]+", capsys.readouterr().out)}
    assert {*PUBLISHED, *CATALOGUE} <= shown


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("fault", ["no server", "another file", "no pack"])
def test_a_failed_download_leaves_no_empty_folders(get, offer, server, tmp_path, there, fault):
    """Folders that were there before stay."""
    folder = tmp_path / "models" / "insightface" / "models"
    if there:
        folder.mkdir(parents=True)
    (tmp_path / "nothing").mkdir()
    if fault == "no server":
        server.files.clear()
    else:
        content = b"x" * 100 if fault == "another file" else zipped(tmp_path / "nothing", "p/")
        offer(content, len(content), hashlib.sha256(content if fault == "no pack" else b"").hexdigest())
    code, _, _ = get()
    assert code == 2
    folders = set((tmp_path / "models").rglob("*"))
    assert folders == ({folder, folder.parent} if there else set())


INSTALLED = [f"insightface/models/p/p/{name}" for name in ("det_10g.onnx", "w600k_r50.onnx")]


def test_a_pack_is_fetched_checked_and_found(get, offer, server, tmp_path):
    code, out, files = get()
    assert code == 0 and files == INSTALLED and "Licence: free" in out
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
    assert not (tmp_path / "models").exists()


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
    server.files.clear()
    assert "the server answers 404" in get()[1]
    offer()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 10**6))
    assert "1 MB free" in get()[1]
    monkeypatch.undo()
    monkeypatch.setitem(CATALOGUE, "p", CataloguedPack("p", "free", (), (Download("http://127.0.0.1:9/p.zip"),)))
    code, out, files = get()
    assert code == 2 and "can't be downloaded: [Errno" in out and files == []
    (tmp_path / "models/insightface/models/p").mkdir(parents=True)
    (tmp_path / "models/insightface/models/p/mine.txt").write_text("kept")
    assert "Delete or rename it" in get()[1]
    assert main(["models", "download", "p"]) == 2 and "--models DIR" in capsys.readouterr().err


FILE = bytes(range(250)) * 40


@pytest.fixture
def offer_file(server, monkeypatch):
    """Puts FILE on the server as a mirror of Hugging Face has it, and the file `f` into the list of published ones."""
    digest = hashlib.sha256(FILE).hexdigest()
    monkeypatch.setenv(MIRROR_VARIABLE, f"{server.url}/")

    def put(content=FILE, size=10_000, sha256=digest, save_as="face model.bin"):
        server.files["/h94/x/resolve/main/model.bin"] = content
        where = Download("https://huggingface.co/h94/x/resolve/main/model.bin", size, sha256, save_as)
        monkeypatch.setitem(PUBLISHED, "f", PublishedFile("f", "ipadapter", "free", where, "for tests"))

    put()
    return put


def test_a_file_is_fetched_into_its_folder_and_checked(get, offer_file, server, tmp_path):
    code, out, files = get("f")
    assert code == 0 and files == ["ipadapter/face model.bin"] and "Licence: free" in out and "100 %" in out
    assert (tmp_path / "models" / files[0]).read_bytes() == FILE
    for name in ("f", "Face Model.bin", "face model"):  # there is nothing left to do
        assert get(name)[0] == 0
    assert len(server.asked) == 1


def test_a_file_that_breaks_off_is_gone_on_with(get, offer_file, server):
    server.break_after = [1000, 10, 10]
    code, out, files = get("f")
    assert code == 2 and "the connection ended early" in out and files == ["ipadapter/face model.bin.part"]
    code, _, files = get("f")
    assert code == 0 and files == ["ipadapter/face model.bin"] and server.asked[-1][1] == "bytes=1020-"


@pytest.mark.parametrize("size", [10_000, None])
def test_a_file_with_other_bytes_is_deleted(get, offer_file, size):
    offer_file(FILE[:-1] + b"?", size=size)
    code, out, files = get("f")
    assert code == 2 and "is not the file that was published" in out and files == []


def test_a_file_of_one_s_own_is_not_written_over(get, offer_file, server, tmp_path):
    mine = tmp_path / "models" / "ipadapter" / "face model.bin"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    code, out, files = get("f")
    assert code == 2 and "isn't the published file. Delete or rename it" in out
    assert mine.read_bytes() == b"mine" and files == ["ipadapter/face model.bin"] and server.asked == []


def test_several_are_fetched_in_one_go(get, offer, offer_file):
    assert get("f", "p")[2] == [*INSTALLED, "ipadapter/face model.bin"]


def test_a_name_that_is_not_known_is_told_before_anything_is_asked_for(get, offer_file, server, capsys):
    """Not the models folder either, which isn't known here."""
    code, out, files = get("f", "nosuch")
    assert code == 2 and "There is no model 'nosuch' to download" in out and files == [] and server.asked == []
    assert "faceid-plusv2_sd15" in out and "buffalo_l" in out
    assert main(["models", "download", "nosuch"]) == 2 and "no model 'nosuch'" in capsys.readouterr().err


@pytest.mark.parametrize("mirror", ["hf-mirror.example", "file:///tmp", "https://"])
def test_a_mirror_that_is_no_address(get, offer_file, monkeypatch, capsys, mirror):
    monkeypatch.setenv(MIRROR_VARIABLE, mirror)
    code, said, files = get("f")
    assert code == 2 and "HF_ENDPOINT is " in said and "begins with https://. Correct it" in said and not files


def test_what_is_published_has_a_place_and_mostly_a_digest():
    folders = {file.folder for file in PUBLISHED.values()}
    assert folders == {"ipadapter", "clip_vision", "checkpoints", "instantid", "controlnet", "pulid", "facexlib"}
    assert {name for starter in STARTERS.values() for name in starter.values()} <= {*PUBLISHED, *CATALOGUE}
    digests = [file.download.sha256 for file in PUBLISHED.values() if file.download.sha256 is not None]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests) and len(set(digests)) == len(digests)
    # Of these none was published.
    assert {file.file for file in PUBLISHED.values() if file.download.sha256 is None} == {
        "pulid_v1.1.safetensors",
        "pulid_v1.bin",
        "pulid_flux_v0.9.1.safetensors",
        "pulid_flux_v0.9.0.safetensors",
        "EVA02_CLIP_L_336_psz14_s6B.pt",
    }
    for file in PUBLISHED.values():
        assert file.licence and file.note and file.download.address == file.download.url
        assert file.download.url.startswith(("https://huggingface.co/", "https://github.com/xinntao/facexlib/"))
    assert PUBLISHED["clip-vit-h"].file == "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
    assert PUBLISHED["instantid"].download.size == INSTANTID_SIZE
    assert PUBLISHED["instantid-controlnet"].file == "instantid-controlnet.safetensors"


def test_list_says_licence_size_and_what_is_installed(tmp_path, capsys):
    save_pack(tmp_path / "insightface/models/buffalo_l", FACES)
    adapter = tmp_path / "ipadapter" / "ip-adapter-faceid_sd15.bin"
    adapter.parent.mkdir()
    adapter.touch()
    assert main(["models", "list", "--models", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "buffalo_l: installed, 289 MB, non-commercial research only" in out and "auraface: 278 MB, Apache-2.0" in out
    assert "faceid_sd15: installed, 97 MB" in out
    assert "faceid-plusv2_sd15: 157 MB, non-commercial" in out and "faceid_sdxl: size not published" in out
    assert all(len(d.sha256) == 64 for pack in CATALOGUE.values() for d in pack.downloads)


@pytest.mark.parametrize("command", [["models", "list"], ["doctor"]], ids=" ".join)
def test_a_reader_that_stops_early_is_no_error(command):
    """As `models list | head` is: nobody reads the pipe any more."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([sys.executable, str(ROOT), *command], stdout=writes, stderr=subprocess.PIPE, timeout=120)
    os.close(writes)
    assert done.returncode == 0 and done.stderr == b""


def test_the_bar_is_one_line_in_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    bar = file_download.Bar("p.zip", out)
    for have in range(0, 101):
        bar(have * 10**6, 100 * 10**6)
    assert out.getvalue().count("\n") == 1 and out.getvalue().endswith("100 %  100 MB of 100 MB\n")

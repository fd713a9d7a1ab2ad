"""The local API when something around it fails: its files, its store, ComfyUI, the caller's connection."""

import asyncio
import contextlib
import errno
import functools
import os
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from facegen import atomic_write
from facegen.api.local import runner as runner_module
from facegen.api.local.backend import without_folders
from facegen.api.local.files.folder import Folder
from facegen.api.local.files.result_files import Results
from local_api_server import BODY, SUBMIT_URL, ApiServer, LocalServer
from memory_backend import MemoryBackend
from waiting import until


@pytest.fixture
def full_disk(monkeypatch):
    """Append to it, and SQLite can't write."""
    full = []

    class Connection(sqlite3.Connection):
        def execute(self, statement, *values):
            if full and statement.startswith(("INSERT", "UPDATE", "DELETE")):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *values)

    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Connection))
    return full


# --- files


@pytest.mark.parametrize("what", ["damaged store", "store is a folder", "no folder"])
def test_state_that_cannot_be_used_does_not_keep_comfyui_from_starting(tmp_path, what, caplog):
    folder = tmp_path / "user" / "facegen" / "local_api"
    folder.parent.mkdir(parents=True)
    if what == "no folder":
        folder.write_text("a file in its place")
    elif what == "store is a folder":
        (folder / "jobs.sqlite").mkdir(parents=True)
    else:
        folder.mkdir()
        (folder / "jobs.sqlite").write_bytes(b"half of something" * 300)
    with LocalServer(tmp_path, enabled=True) as server:
        assert "did not start" in caplog.text
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 503 and answer["status"] == "error" and str(tmp_path) not in answer["message"]
        assert "can't be used" in answer["message"] or "can't use its files" in answer["message"]


@pytest.mark.parametrize("content", ["{", "[]", '{"default": "none"}', '{"token": "short"}', '{"nosuch": 1}'])
def test_settings_that_cannot_be_used_are_named_without_their_folder(any_kind, tmp_path, content):
    with any_kind(tmp_path, enabled=True) as server:
        server.config.write_text(content)
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 503 and "local_api.json" in answer["message"] and str(tmp_path) not in answer["message"]


@pytest.mark.parametrize(
    "entry", ['"token": 1234567890123456', '"tokens": {"anna": 1234567890123456}', '"webhook_secret": ["1234567890123456"]']
)
def test_a_secret_of_the_wrong_type_is_not_told(any_kind, tmp_path, entry):
    with any_kind(tmp_path, enabled=True) as server:
        server.config.write_text(f"{{{entry}}}")
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 503 and "must be str" in answer["message"] and "1234567890123456" not in answer["message"]


def test_whoever_fails_on_a_file_names_it_without_its_folder(any_kind, tmp_path):
    with any_kind(tmp_path, enabled=True) as server:
        server.fail_with(f"Load FaceID: {tmp_path}/models/ipadapter/cut.bin is cut short.")
        answer = server.submit(BODY)
        assert answer["status"] == "failed" and answer["message"].endswith("Load FaceID: cut.bin is cut short.")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/ui/models/a.bin is cut short; see /srv/log.", "a.bin is cut short; see log."),
        (r"C:\ui\models\a.bin and 'D:/b/c.bin' differ.", "a.bin and 'c.bin' differ."),
        (r"\\server\share\a.bin is gone.", "a.bin is gone."),
        (f"{Path.home()}/my files/a.bin is gone.", "my files/a.bin is gone."),
        ("Put it into models/ipadapter, see https://example.org/a/b or 1/2 of api/local.", None),
    ],
)
def test_folders_of_this_machine_are_left_out(text, shown):
    assert without_folders(text) == (text if shown is None else shown)


def test_a_photo_that_cannot_be_written(any_kind, tmp_path):
    with any_kind(tmp_path, enabled=True) as server:
        server.photos.write_text("a file where the folder of the photos belongs")
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 503 and "can't use its files: File exists" in answer["message"]


def test_a_request_that_cannot_be_stored(any_kind, tmp_path, full_disk):
    with any_kind(tmp_path, enabled=True) as server:
        full_disk.append(True)
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 503 and "disk is full" in answer["message"]
        assert not any(server.photos.iterdir()) and not server.made
        full_disk.clear()
        assert server.submit(BODY)["status"] == "success"


@pytest.mark.parametrize("end", ["finished", "cancelled"])
def test_an_outcome_that_cannot_be_stored(any_kind, tmp_path, full_disk, end):
    with any_kind(tmp_path, enabled=True, hold_seconds=0.1) as server:
        server.gate.clear()
        identifier = server.submit(BODY)["id"]
        server.wait_for(1)
        full_disk.append(True)
        if end == "cancelled":
            assert "could not be stored" in server.post(f"/api/v6/image_editing/cancel/{identifier}")[1]["message"]
        server.gate.set()
        until(lambda: server.fetch(identifier)["status"] == "failed")
        assert "could not be stored" in server.fetch(identifier)["message"]
        assert not any((server.config.parent / "local_api" / "results").iterdir()), "what nobody can fetch takes no room"
        full_disk.clear()
        assert server.fetch(identifier)["status"] == "failed"
        assert server.submit(BODY)["status"] in ("success", "processing")


@pytest.mark.parametrize("full", ["at once", "half way"])
def test_pictures_that_find_no_room(tmp_path, monkeypatch, full, caplog):
    real = atomic_write._part
    failed = []

    @contextlib.contextmanager
    def no_room(target, mode):
        with real(target, mode) as part:
            yield part
            if target.parent.name == "results" and (full == "at once" or target.name.endswith("-1.png")):
                failed.append(part)
                part.write_bytes(part.read_bytes()[:50])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ApiServer(tmp_path, backend := MemoryBackend(), enabled=True) as server:
        monkeypatch.setattr(atomic_write, "_part", no_room)
        answer = server.submit({**BODY, "samples": 2})
        assert answer["status"] == "failed" and failed
        says = "The pictures can't be written: No space left on device. Make room and send the request again."
        assert answer["message"] == says and server.fetch(answer["id"]) == answer
        assert list((tmp_path / "user" / "facegen" / "local_api" / "results").iterdir()) == []
        assert not any(server.photos.iterdir())
        assert "Traceback" not in caplog.text and len(backend.works) == 1


def test_a_photo_that_finds_no_room(tmp_path, monkeypatch):
    """Pillow's own error has no text of the system's."""

    def save(self, path, *args, **options):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ApiServer(tmp_path, MemoryBackend(), enabled=True) as server:
        monkeypatch.setattr(Image.Image, "save", save)
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 503 and answer["message"] == "The local API can't use its files: No space left on device."
        assert list(server.photos.iterdir()) == []


@pytest.mark.parametrize("samples", [1, 2])
def test_cancelled_while_its_pictures_are_written(tmp_path, monkeypatch, samples):
    """Nothing of it is delivered, under whatever name, and nothing is left."""
    keep, begun, go_on = Results.keep, threading.Event(), threading.Event()

    async def slowly(self, job, pictures):
        await keep(self, job, pictures)
        begun.set()
        assert await asyncio.to_thread(go_on.wait, 10)

    monkeypatch.setattr(Results, "keep", slowly)
    with ApiServer(tmp_path, backend := MemoryBackend(), enabled=True, hold_seconds=0, poll_seconds=0) as server:
        answer = server.submit({**BODY, "samples": samples})
        assert begun.wait(10)
        cancelled = server.post(f"/v6/image_editing/cancel/{answer['id']}")[1]
        assert cancelled["message"] == "The request was cancelled."
        links = [*answer["future_links"], *(link.replace(".png", ".base64") for link in answer["future_links"])]
        assert [server.get(link)[0] for link in links] == [404] * len(links), "they are on the disk now"
        go_on.set()
        results = tmp_path / "user" / "facegen" / "local_api" / "results"
        until(lambda: not any(results.iterdir()))
        until(lambda: len(backend.cancelled) == 2)
        assert not backend.files and server.fetch(answer["id"]) == cancelled
        assert [server.get(link)[0] for link in links] == [404] * len(links)


def test_photos_of_a_process_that_was_killed_are_deleted(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "left.png").write_bytes(b"a face")
    (tmp_path / "photos" / ".left.png.0123.part").write_bytes(b"half a face")
    with ApiServer(tmp_path, MemoryBackend(), enabled=True):
        assert list((tmp_path / "photos").iterdir()) == []


def test_cleaning_goes_on_after_a_failure(any_kind, tmp_path, monkeypatch):
    failed, old, too_old = [], [], runner_module.too_old

    def once_broken(hours):
        if not failed:
            failed.append(True)
            raise PermissionError("a file that a scanner holds open")
        return too_old(-1 if old else hours)

    monkeypatch.setattr(runner_module, "too_old", once_broken)
    monkeypatch.setattr(runner_module, "CLEAN_EVERY", 0.02)
    monkeypatch.setattr(runner_module, "PATIENCE", 0.05)
    with any_kind(tmp_path, enabled=True) as server:
        identifier = server.submit(BODY)["id"]
        old.append("everything")
        until(lambda: server.fetch(identifier)["status"] == "error")
    assert failed == [True]


def test_a_file_that_cannot_be_deleted_keeps_no_other(tmp_path):
    results = Folder(tmp_path)
    (tmp_path / "0-folder").mkdir()
    (tmp_path / "1.png").touch()
    results.delete_older_than(time.time() + 10)
    assert [path.name for path in tmp_path.iterdir()] == ["0-folder"]


# --- ComfyUI


def test_a_strange_answer_of_comfyui_does_not_end_the_watch(tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "PATIENCE", 0.05)
    with LocalServer(tmp_path, enabled=True) as server:
        server.comfy.strange = 1
        assert server.submit(BODY)["status"] == "success" and server.comfy.strange == 0


def test_pictures_of_a_request_that_was_cancelled_too_late_are_deleted(tmp_path):
    with LocalServer(tmp_path, enabled=True, hold_seconds=0) as server:
        server.comfy.is_deaf = True
        server.comfy.gate.clear()
        identifier = server.submit({**BODY, "samples": 2})["id"]
        server.comfy.wait_for(1)
        server.post(f"/api/v6/image_editing/cancel/{identifier}")
        server.comfy.gate.set()
        until(lambda: not any(server.photos.iterdir()))
        assert len(server.comfy.history) == 1 and not list(server.temp.glob("*.png"))
        assert "cancelled" in server.fetch(identifier)["message"]


SUCCEEDED = {"messages": [["execution_start", {"timestamp": 1000}], ["execution_success", {"timestamp": 2000}]]}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"outputs": {}, "status": None}, "ComfyUI's history of the request can't be read (TypeError)."),
        ({}, "The request was taken out of ComfyUI's queue."),
        (
            {"outputs": {"result": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}},
            "a Preview Image node.",
        ),
        (
            {
                "outputs": {"result": {"images": [{"filename": "../a.png", "subfolder": "", "type": "temp"}]}},
                "status": SUCCEEDED,
            },
            "a Preview Image node.",
        ),
    ],
)
def test_a_history_that_makes_no_sense_fails_its_own_request_alone(server, entry, says):
    server.comfy.gate.clear()
    run = server.comfy.run
    server.comfy.run = lambda identifier, graph: entry if len(server.comfy.history) == 0 else run(identifier, graph)
    server.configure(enabled=True, hold_seconds=0, poll_seconds=10)
    broken = server.submit(BODY)["id"]
    server.comfy.wait_for(1)
    whole = server.submit(BODY)["id"]
    server.comfy.wait_for(2)
    server.comfy.gate.set()
    assert server.fetch(broken)["message"].endswith(says)
    assert server.fetch(whole)["status"] == "success"


def test_a_picture_of_comfyui_that_is_gone(server):
    run = server.comfy.run

    def run_and_lose(identifier, graph):
        entry = run(identifier, graph)
        for path in server.temp.glob("*.png"):
            path.unlink()
        return entry

    server.comfy.run = run_and_lose
    assert server.submit(BODY)["message"] == "ComfyUI's picture can't be read: No such file or directory."


# --- the caller


def test_a_caller_that_hangs_up(shared_server, caplog):
    head = "POST /v6/images/fetch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", shared_server.port)) as connection:
        connection.sendall(head.encode())
        time.sleep(0.1)
    time.sleep(0.1)
    assert shared_server.post("/v6/images/fetch", {})[0] == 200 and not caplog.records


def test_a_body_that_is_not_packed_as_it_says(shared_server):
    status, answer = shared_server.post(SUBMIT_URL, raw=b"plain", headers={"Content-Encoding": "gzip"})
    assert status == 400 and answer["status"] == "error"


def test_a_picture_that_a_request_does_not_have(shared_server):
    link = shared_server.submit(BODY)["output"][0]
    status, answer = shared_server.get(link.replace("-0.png", "-1.png"))
    assert status == 404 and answer["message"] == "There is no such picture."


def test_settings_that_cannot_be_read_tell_a_rebound_name_nothing(any_kind, tmp_path):
    with any_kind(tmp_path) as server:
        server.config.write_text("{")
        answers = [server.get("/facegen/settings", headers={"Host": "evil.example"})]
        answers.append(server.post("/facegen/settings", {"local_api": {"enabled": True}}, headers={"Host": "evil.example"}))
        answers.append(server.post(SUBMIT_URL, BODY, headers={"Host": "evil.example"}))
        assert all(str(tmp_path) not in str(answer) for _, answer in answers)
        assert "can't be read as JSON" in server.get("/facegen/settings")[1]["local_api"]["reason"]

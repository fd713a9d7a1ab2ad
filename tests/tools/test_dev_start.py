"""dev.py comfyui: what it does where there is no ComfyUI, how it links the pack, and that it starts what it found."""

import sys
import urllib.error

import pytest

from dev_tools import make_comfyui

MAIN = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
print(sys.argv[1:], flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
server.handle_request()  # answers once, then ends
"""


@pytest.fixture
def github(dev, monkeypatch):
    """GitHub, in or out of reach; and what was run."""
    ran = []

    def urlopen(*_, **__):
        if unreachable:
            raise urllib.error.URLError("no route to host")
        return open(__file__)

    def quietly(command, failure):
        ran.append([str(part) for part in command])
        if "install" in command:
            make_comfyui(command[command.index("--workspace") + 1])

    unreachable = []
    monkeypatch.setattr(dev.start.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(dev.start, "quietly", quietly)
    monkeypatch.setattr(dev.start, "ensure_venv", lambda *_: "cli python")
    return ran, unreachable


def test_without_github_one_sentence_says_what_to_do(dev, github, tmp_path, monkeypatch, capsys):
    github[1].append(True)
    monkeypatch.setattr(dev.sys, "argv", ["dev.py", "comfyui"])
    assert dev.main() == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and error.count(". ") == 0
    assert "can't be reached (no route to host)" in error and "set COMFYUI_PATH to its folder" in error
    assert not github[0] and not (tmp_path / "ComfyUI").exists()


@pytest.mark.parametrize(
    ("system", "machine", "nvidia", "option"),
    [
        ("linux", "x86_64", True, "--nvidia"),
        ("linux", "x86_64", False, "--cpu"),
        ("win32", "AMD64", True, "--nvidia"),
        ("darwin", "arm64", False, "--m-series"),
        ("darwin", "x86_64", False, "--cpu"),
    ],
)
def test_comfy_cli_installs_beside_the_pack(dev, github, tmp_path, monkeypatch, system, machine, nvidia, option):
    monkeypatch.setattr(dev.start.sys, "platform", system)
    monkeypatch.setattr(dev.start.platform, "machine", lambda: machine)
    monkeypatch.setattr(dev.start.shutil, "which", lambda name: name if nvidia else None)
    assert dev.start.install(tmp_path / "ComfyUI") == tmp_path / "ComfyUI"
    start = ["cli python", "-m", "comfy_cli", "--skip-prompt", "--workspace", str(tmp_path / "ComfyUI")]
    assert github[0] == [[*start, "tracking", "disable"], [*start, "install", option, "--skip-manager"]]


def test_a_folder_in_the_way_is_left_alone(dev, github, tmp_path):
    (tmp_path / "ComfyUI").mkdir()
    with pytest.raises(dev.common.DevError, match="is in the way"):
        dev.start.install(tmp_path / "ComfyUI")
    assert not github[0]


def test_the_pack_is_linked_once(dev, tmp_path):
    comfyui = make_comfyui(tmp_path / "mine")
    assert dev.start.link_pack(comfyui) == dev.start.link_pack(comfyui) == "ComfyUI-FaceGen"
    assert [entry.resolve() for entry in (comfyui / "custom_nodes").iterdir()] == [dev.common.ROOT]
    (comfyui / "custom_nodes" / "ComfyUI-FaceGen").rename(comfyui / "custom_nodes" / "faces")
    assert dev.start.link_pack(comfyui) == "faces"
    other = make_comfyui(tmp_path / "other")
    (other / "custom_nodes" / "ComfyUI-FaceGen").mkdir()
    with pytest.raises(dev.common.DevError, match="another copy of this pack"):
        dev.start.link_pack(other)


def test_it_starts_what_comfyui_path_names_and_opens_the_template(dev, tmp_path, monkeypatch, capfd):
    comfyui = make_comfyui(tmp_path / "mine")
    (comfyui / "main.py").write_text(MAIN)
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    monkeypatch.setattr(dev.start, "host_venv", lambda home: sys.executable)
    opened = []
    monkeypatch.setattr(dev.start.webbrowser, "open", opened.append)
    monkeypatch.setattr(dev.sys, "argv", ["dev.py", "comfyui", "--cpu"])
    assert dev.main() == 0
    (address,) = opened
    assert address.startswith("http://127.0.0.1:") and address.endswith("/?template=portrait_sd15&source=ComfyUI-FaceGen")
    shown = capfd.readouterr().out
    assert "'--disable-auto-launch', '--cpu'" in shown and "Browse Templates > ComfyUI-FaceGen > portrait_sd15" in shown


def test_a_comfyui_that_ends_at_once_is_an_error(dev, tmp_path, monkeypatch):
    comfyui = make_comfyui(tmp_path / "mine")
    (comfyui / "main.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    monkeypatch.setattr(dev.start, "host_venv", lambda home: sys.executable)
    with pytest.raises(dev.common.DevError, match="ended while starting, with exit code 3"):
        dev.start.comfyui([], browser=False)

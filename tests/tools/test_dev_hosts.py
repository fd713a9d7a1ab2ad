"""dev.py: which ComfyUI it finds."""

import os
import re

import pytest

from dev_tools import load_dev, make_comfyui, place_pack
from facegen.standalone.cli import comfyui
from pack import ROOT

pytestmark = pytest.mark.usefixtures("home")


def test_no_comfyui_is_found_on_a_fresh_machine(dev):
    assert dev.hosts.find_comfyui() == []


def test_comfyui_path_names_one_or_several_checkouts_and_wins(dev, tmp_path, home, monkeypatch):
    make_comfyui(home / "comfy" / "ComfyUI")
    old, new = make_comfyui(tmp_path / "old", "0.3.64"), make_comfyui(tmp_path / "new")
    monkeypatch.setenv("COMFYUI_PATH", os.pathsep.join(map(str, (old, new, old))))
    assert dev.hosts.find_comfyui() == [old, new]
    assert [dev.hosts.comfyui_version(path) for path in (old, new)] == ["0.3.64", "0.8.0"]


@pytest.mark.parametrize("missing", ["main.py", "comfyui_version.py"])
def test_a_wrong_comfyui_path_is_an_error_that_names_it(dev, tmp_path, monkeypatch, missing):
    path = make_comfyui(tmp_path / "elsewhere")
    (path / missing).unlink()
    monkeypatch.setenv("COMFYUI_PATH", str(path))
    with pytest.raises(dev.common.DevError, match=re.escape(f"COMFYUI_PATH: {path} is no ComfyUI")):
        dev.hosts.find_comfyui()


def test_pack_inside_custom_nodes(tmp_path, home):
    make_comfyui(home / "comfy" / "ComfyUI")
    comfyui = make_comfyui(tmp_path / "mine")
    dev = load_dev(place_pack(comfyui / "custom_nodes" / "ComfyUI-FaceGen"))
    assert dev.hosts.find_comfyui() == [comfyui]
    assert dev.hosts.has_pack(comfyui)


@pytest.mark.parametrize("from_shell", [False, True])
def test_pack_linked_into_custom_nodes(tmp_path, monkeypatch, from_shell):
    """By the path that Python was given, or, as `cd` follows the link, by the shell's idea of where it is."""
    comfyui = make_comfyui(tmp_path / "mine")
    real = place_pack(tmp_path / "pack")
    link = comfyui / "custom_nodes" / "facegen"
    link.symlink_to(real.parent, target_is_directory=True)
    if from_shell:
        monkeypatch.setenv("PWD", str(link))
    dev = load_dev(real if from_shell else link / "dev.py")
    assert real.parent == dev.common.ROOT
    assert dev.hosts.find_comfyui() == [comfyui]
    assert dev.hosts.has_pack(comfyui)


def test_custom_nodes_itself_is_a_link(tmp_path):
    comfyui = make_comfyui(tmp_path / "mine")
    place_pack(tmp_path / "shared" / "facegen")
    (comfyui / "custom_nodes").rmdir()
    (comfyui / "custom_nodes").symlink_to(tmp_path / "shared", target_is_directory=True)
    assert load_dev(comfyui / "custom_nodes" / "facegen" / "dev.py").find_comfyui() == [comfyui]


@pytest.mark.parametrize("parent", ["comfy", "Documents/comfy"])
def test_comfy_cli_default_workspace_and_its_neighbours(dev, home, parent):
    first, second = make_comfyui(home / parent / "ComfyUI"), make_comfyui(home / parent / "ComfyUI-0.3.64", "0.3.64")
    (home / parent / "models").mkdir()
    assert dev.hosts.find_comfyui() == [first, second]
    assert not dev.hosts.has_pack(first)


@pytest.mark.parametrize("folder", [None, ".config", "Library/Application Support", "AppData/Local"])
def test_the_pack_s_commands_look_in_the_same_places_of_comfy_cli(dev, tmp_path, home, monkeypatch, folder):
    """dev.py imports nothing of the pack, so both say where they are."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    if folder:
        config = home / folder / "comfy-cli" / "config.ini"
        config.parent.mkdir(parents=True)
        config.write_text(f"[DEFAULT]\ndefault_workspace = {tmp_path / 'chosen'}\n")
    for place in ("comfy/a", "comfy/b", "Documents/comfy/c"):
        (home / place).mkdir(parents=True)
    nearby = [ROOT.parent / "ComfyUI", home / "ComfyUI"]
    found = list(dev.hosts.from_comfy_cli())
    assert list(comfyui.known_comfyuis()) == nearby + found and len(found) == (4 if folder else 3)


@pytest.mark.parametrize("folder", [".config", "Library/Application Support", "AppData/Local"])
def test_comfy_cli_configured_workspace_comes_first(dev, tmp_path, home, folder):
    default, chosen = make_comfyui(home / "comfy" / "ComfyUI"), make_comfyui(tmp_path / "100% mine")
    config = home / folder / "comfy-cli" / "config.ini"
    config.parent.mkdir(parents=True)
    config.write_text(f"[DEFAULT]\nenable_tracking = False\ndefault_workspace = {chosen}\n")
    assert dev.hosts.find_comfyui() == [chosen, default]
    config.write_text("not an ini file")
    assert dev.hosts.find_comfyui() == [default]

"""dev.py: when it makes an environment anew, and of what; without installing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev_tools import make_comfyui


class Installer:
    """Stands in for the commands that make a venv and fill it."""

    def __init__(self, dev, monkeypatch):
        self.dev, self.ran, self.error, self.pip_config = dev, [], None, ""
        self.installed, self.chosen = "", ""  # what is there; what uv would have
        monkeypatch.setattr(dev.environments, "quietly", self)
        monkeypatch.setattr(dev.environments, "usable", Path.is_file)

    def __call__(self, command, failure, env=None):
        command = [str(part) for part in command]
        if "config" in command:
            return self.pip_config
        if "uv" in command and "pip" in command and command.index("uv") < command.index("pip"):
            self.ran.append("uv")
            self.uv, self.uv_env = command, env
            if self.error:
                raise self.dev.common.DevError(self.error)
            if "compile" in command:
                self.asked = command
                self.preferred = self.after("-o").read_text()
                self.after("-o").write_text(self.chosen)
        elif "venv" in command:
            self.ran.append("venv")
            venv = Path(command[-1])
            shutil.rmtree(venv, ignore_errors=True)
            python = self.dev.environments.venv_python(venv)
            python.parent.mkdir(parents=True)
            python.touch()
        elif "pip" in command:
            self.ran.append("pip")
            self.pip = command
        elif "distributions" in command[-1]:
            return self.installed
        else:  # where are your packages?
            return f"{Path(command[0]).parent}\n"

    def after(self, option):
        """The file that uv was given last with this option."""
        return Path(self.uv[self.uv.index(option) + 1])

    def took(self):
        ran, self.ran = self.ran, []
        return ran


@pytest.fixture
def installer(dev, monkeypatch):
    return Installer(dev, monkeypatch)


def test_venv_is_made_once_and_updated_when_requirements_change(dev, installer):
    python = dev.environments.pack_venv()
    assert python == dev.environments.venv_python(dev.common.ROOT / ".venv")
    assert installer.took() == ["venv", "pip", "uv"]
    assert installer.pip[-1] == "uv" and installer.uv.count("-r") == 3
    assert installer.uv[installer.uv.index("--python") + 1] == str(python)
    assert dev.environments.pack_venv() == python
    assert installer.took() == []
    dev.environments.DEV_REQUIREMENTS.write_text("numpy\ntqdm\n")
    dev.environments.pack_venv()
    assert installer.took() == ["pip", "uv"]


def test_uv_gets_what_pip_was_told(dev, installer, monkeypatch):
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_FIND_LINKS", "mine")
    installer.pip_config = (
        ":env:.extra-index-url='https://one'\n:env:.timeout='9'\nglobal.cert='/a.crt'\n"
        "global.extra-index-url='https://two'\nglobal.find-links='\\n/wheels'\nglobal.index-url=\"https://a'b\"\n"
    )
    dev.environments.pack_venv()
    given = {name: installer.uv_env.get(name) for name in dev.environments.PIP_TO_UV.values()}
    assert given == {
        "UV_DEFAULT_INDEX": "https://a'b",
        "UV_INDEX": "https://one",
        "UV_FIND_LINKS": "mine",
        "UV_CONSTRAINT": None,
        "SSL_CERT_FILE": "/a.crt",
    }


def test_half_built_venv_is_made_anew(dev, installer):
    installer.error = "no network"
    with pytest.raises(dev.common.DevError, match="no network"):
        dev.environments.pack_venv()
    installer.error = None
    installer.took()
    dev.environments.pack_venv()
    assert installer.took() == ["venv", "pip", "uv"]


def test_failed_update_is_made_anew(dev, installer):
    dev.environments.pack_venv()
    dev.environments.PACK_REQUIREMENTS.write_text("nonsense\n")
    installer.error = "no such package"
    with pytest.raises(dev.common.DevError):
        dev.environments.pack_venv()
    installer.error = None
    dev.environments.PACK_REQUIREMENTS.write_text("numpy\n")
    installer.took()
    dev.environments.pack_venv()
    assert installer.took() == ["venv", "pip", "uv"]


def test_venv_with_a_broken_python_is_made_anew(dev, installer):
    dev.environments.pack_venv().unlink()
    installer.took()
    dev.environments.pack_venv()
    assert installer.took() == ["venv", "pip", "uv"]


def overlay(dev, host):
    return dev.environments.ensure_venv(
        dev.common.ROOT / ".venv-host-0.8.0", "python", [dev.environments.PACK_REQUIREMENTS], host
    )


def test_overlay_is_made_anew_when_its_host_has_another_torch(dev, installer):
    host = {"pins": {"torch": "2.11.0+cu130"}, "site": ["/comfy/site-packages"]}
    python = overlay(dev, host)
    assert installer.took() == ["venv", "pip", "uv", "uv"]
    assert (python.parent / "comfyui.pth").read_text() == "/comfy/site-packages\n"
    overlay(dev, host)
    assert installer.took() == []
    host["pins"]["torch"] = "2.12.0"
    overlay(dev, host)
    assert installer.took() == ["venv", "pip", "uv", "uv"]


def test_overlay_gets_what_its_host_lacks_and_keeps_its_torch(dev, installer):
    """And a package that is there in a version that won't do."""
    installer.installed = "torch==2.11.0+cu130\nruamel.yaml==0.18\nnumpy==1.26.4\ntqdm==4.1\n"
    installer.chosen = "ruamel-yaml==0.18\nnumpy==2.4.6\ntqdm==4.1\npytest==9.2.0\n"
    overlay(dev, {"pins": {"torch": "2.11.0+cu130", "torchvision": "0.26.0"}, "site": []})
    assert installer.preferred == installer.installed and str(dev.environments.PACK_REQUIREMENTS) in installer.asked
    assert Path(installer.asked[installer.asked.index("--excludes") + 1]).read_text() == "torch\ntorchvision\n"
    assert "install" in installer.uv and "--no-deps" in installer.uv
    assert installer.after("-r").read_text() == "numpy==2.4.6\npytest==9.2.0\n"


def test_borrowed_packages_come_after_the_own_ones(dev, tmp_path):
    venv, borrowed = tmp_path / "venv", tmp_path / "host" / "site-packages"
    borrowed.mkdir(parents=True)
    (borrowed / "facegen_borrowed.py").touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    dev.environments.borrow(dev.environments.venv_python(venv), [str(borrowed)])
    show = "import sys, sysconfig, facegen_borrowed; print(sysconfig.get_path('purelib'), *sys.path, sep='\\n')"
    own, *path = dev.common.quietly([dev.environments.venv_python(venv), "-c", show], "no").splitlines()
    assert path.index(own) < path.index(str(borrowed))


@pytest.mark.parametrize("env", [".venv", "venv", None])
def test_own_python_of_a_checkout(dev, tmp_path, env):
    comfyui = make_comfyui(tmp_path / "ComfyUI")
    assert dev.environments.own_python(comfyui) is None
    python = dev.environments.venv_python(comfyui / env) if env else tmp_path / "python_embeded" / "python.exe"
    python.parent.mkdir(parents=True)
    python.touch()
    assert dev.environments.own_python(comfyui) == python


def test_checkout_without_an_environment_gets_its_requirements_in_the_overlay(dev, tmp_path, monkeypatch):
    comfyui = make_comfyui(tmp_path / "ComfyUI", "0.3.64")
    monkeypatch.setattr(dev.environments, "ensure_venv", lambda *args: args)
    venv, maker, requirements, host = dev.environments.host_venv(comfyui)
    assert venv == dev.common.ROOT / ".venv-host-0.3.64"
    assert maker == Path(sys.executable)
    assert requirements == [
        comfyui / "requirements.txt",
        dev.environments.PACK_REQUIREMENTS,
        dev.environments.DEV_REQUIREMENTS,
        dev.environments.HOST_REQUIREMENTS,
    ]
    assert host["python"] == "{}.{}".format(*sys.version_info[:2])
    assert host["makes_venvs"]


def test_python_that_makes_no_venv_is_replaced_by_one_of_its_version(dev, tmp_path, monkeypatch):
    """The embedded Python of the Windows portable build."""
    comfyui = make_comfyui(tmp_path / "ComfyUI")
    embedded = tmp_path / "python_embeded" / "python.exe"
    embedded.parent.mkdir()
    embedded.touch()
    host = {"python": "{}.{}".format(*sys.version_info[:2]), "pins": {"torch": "2.8.0"}, "makes_venvs": False}
    monkeypatch.setattr(dev.environments, "quietly", lambda *_: json.dumps(host))
    monkeypatch.setattr(dev.environments, "ensure_venv", lambda *args: args)
    _, maker, requirements, _ = dev.environments.host_venv(comfyui)
    assert maker == Path(sys.executable)
    files = dev.environments
    assert requirements == [files.PACK_REQUIREMENTS, files.DEV_REQUIREMENTS, files.HOST_REQUIREMENTS]
    host["python"] = "3.99"
    with pytest.raises(dev.common.DevError, match=r"run dev.py with a Python 3\.99"):
        dev.environments.host_venv(comfyui)


def test_several_fronts_get_an_overlay_on_the_pack_s_environment(dev, monkeypatch):
    monkeypatch.setattr(dev.environments, "pack_venv", lambda: Path(sys.executable))
    monkeypatch.setattr(dev.environments, "ensure_venv", lambda *args: args)
    venv, maker, requirements, host = dev.environments.scale_venv()
    assert (venv, maker) == (dev.common.ROOT / ".venv-scale", Path(sys.executable))
    assert [file.name for file in requirements] == ["requirements-scale.txt", "requirements-scale-tests.txt"]
    assert host["site"] and "torch" in host["pins"], "what the pack's tests need is borrowed, and torch stays"


def test_failure_shows_the_last_lines(dev):
    script = "import sys; print(*range(50), sep='\\n'); sys.exit(3)"
    with pytest.raises(dev.common.DevError, match=r"(?s)^pip failed\. .*\n49$"):
        dev.common.quietly([sys.executable, "-c", script], "pip failed")
    with pytest.raises(dev.common.DevError, match=r"no Python: .*nowhere"):
        dev.common.quietly([Path("nowhere/python")], "no Python")

"""Settings of the local API."""

import json
import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from facegen.api.local.config import ConfigFile, LocalConfig
from facegen.api.local.config_values import ConfigError
from facegen.api.local.flavours import Flavour, StyleFiles


def read(tmp_path, content):
    path = tmp_path / "local_api.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return ConfigFile(path).read()


def test_the_documented_example(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "local-api.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    config = read(tmp_path, example)
    assert config.enabled and config.flavours["sd15"].styles["anime"].loras == {"ink.safetensors": 0.6}
    assert all(re.search(rf"\b{f.name}\b", text) for kind in (LocalConfig, Flavour) for f in fields(kind))


def test_no_file_is_off(tmp_path):
    config = ConfigFile(tmp_path / "none.json").read()
    assert config == LocalConfig() and not config.enabled


def test_everything_that_can_be_set(tmp_path):
    config = read(
        tmp_path,
        {
            "enabled": True,
            "token": "sixteen characters",
            "default": "mine",
            "max_queued": 3,
            "keep_hours": 1,
            "hold_seconds": 0.5,
            "allowed_hosts": ["nas.local"],
            "served_as": ["faces.example"],
            "flavours": {
                "mine": {"workflow": "own", "checkpoint": "a.safetensors"},
                "sdxl": {"styles": {"anime": {"checkpoint": "b.safetensors", "loras": {"c.safetensors": 1}}}},
            },
        },
    )
    assert config.flavour(None) == Flavour("own", checkpoint="a.safetensors")
    sdxl = config.flavour("ai-avatar-generatorface-gen")
    assert sdxl.workflow == "local_sdxl" and sdxl.render_scale == 2
    assert sdxl.styles == {"anime": StyleFiles("b.safetensors", {"c.safetensors": 1.0})}
    assert config.flavour(["no", "name"]) == config.flavours["mine"]
    assert config.max_queued == 3 and config.allowed_hosts == ("nas.local",) and config.keep_hours == 1.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "can't be read as JSON"),
        ("[]", "must hold a JSON object"),
        ({"enabled": "yes"}, "enabled must be bool"),
        ({"enable": True}, "has enable; known are enabled"),
        ({"max_queued": 0}, "max_queued is 0"),
        ({"max_queued": 1.5}, "max_queued must be int"),
        ({"hold_seconds": -1}, "hold_seconds is -1"),
        ({"poll_seconds": float("nan")}, "poll_seconds is nan"),
        ({"keep_hours": 0}, "keep_hours is 0.0; it must be at least 0.1"),
        ({"webhook_secret": "whsec_"}, "webhook_secret must be whsec_ and"),
        ({"webhook_secret": "whsec_" + "a" * 33}, "webhook_secret must be whsec_ and"),
        ({"webhook_secret": "a" * 32}, "webhook_secret must be whsec_ and"),
        ({"default": "none"}, "default is 'none'; flavours has sd15, sdxl"),
        ({"flavours": {"new": {}}}, "lacks an entry"),
        ({"flavours": {"sd15": {"chekpoint": "a"}}}, "flavours.sd15 has chekpoint"),
        ({"flavours": {"sd15": {"styles": {"oil": {}}}}}, "styles has oil; the styles are realistic"),
        ({"flavours": {"sd15": {"styles": {"anime": {"loras": {"a": "1"}}}}}}, "loras.a must be float"),
        ({"flavours": {"sd15": 5}}, "must be a JSON object"),
        ({"allowed_hosts": "nas"}, "allowed_hosts must be"),
        ({"allowed_hosts": [5]}, "allowed_hosts must be str"),
    ],
)
def test_a_mistake_names_the_file_and_the_entry(tmp_path, content, message):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, content)
    assert message in str(error.value) and "local_api.json" in str(error.value)


def test_a_style_of_one_s_own_may_have_files_of_its_own(tmp_path):
    path = tmp_path / "local_api.json"
    path.write_text(json.dumps({"flavours": {"sd15": {"styles": {"oil": {"checkpoint": "oil.safetensors"}}}}}))
    styles = ConfigFile(path, lambda: ["realistic", "oil"]).read().flavours["sd15"].styles
    assert styles == {"oil": StyleFiles("oil.safetensors")}


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_token_that_others_can_read(tmp_path):
    path = tmp_path / "local_api.json"
    path.write_text(json.dumps({"token": "sixteen characters"}))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ConfigFile(path).read()


def test_an_edit_is_seen_and_a_mistake_keeps_the_last(tmp_path):
    path = tmp_path / "local_api.json"
    file = ConfigFile(path)
    file.enable(True)
    assert file.read().enabled
    path.write_text(json.dumps({"enabled": True, "max_queued": 7}))
    assert file.read().max_queued == 7
    path.write_text("{")
    with pytest.raises(ConfigError):
        file.read()
    assert file.last.max_queued == 7
    with pytest.raises(ConfigError):
        file.enable(False)
    assert path.read_text() == "{"

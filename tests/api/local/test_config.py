"""Settings of the local API."""

import json
import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from facegen.api.download import Guard, RefusedURL
from facegen.api.hosts import Hosts
from facegen.api.local import config as config_module
from facegen.api.local.config import LOOK, ConfigFile, LocalConfig
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


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_line_end_is_no_part_of_a_token(tmp_path, monkeypatch, way):
    settings = {"tokens": {"anna": " another with spaces\n"}}
    if way == "environment":
        monkeypatch.setenv("FACEGEN_API_TOKEN", "sixteen characters\n")
    else:
        settings["token"] = "sixteen characters\n"
    assert read(tmp_path, settings).known_tokens == {"": "sixteen characters", "anna": "another with spaces"}


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
                "mine": {"workflow": "own.json", "checkpoint": "a.safetensors"},
                "sdxl": {"styles": {"anime": {"checkpoint": "b.safetensors", "loras": {"c.safetensors": 1}}}},
            },
        },
    )
    assert config.flavours["mine"] == Flavour("own", checkpoint="a.safetensors")
    assert [config.flavour_of(name) for name in (None, ["no", "name"], "some-model", "mine")] == [None, None, None, "mine"]
    sdxl = config.flavours[config.flavour_of("ai-avatar-generatorface-gen")]
    assert sdxl.workflow == "local_sdxl" and sdxl.render_scale == 2
    assert sdxl.styles == {"anime": StyleFiles("b.safetensors", {"c.safetensors": 1.0})}
    assert config.default == "mine" and not config.chooses_flavour and LocalConfig().chooses_flavour
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
        ({"keep_hours": 0}, "keep_hours is 0.0; it must be at least 0.1 and at most"),
        ({"webhook_secret": "whsec_"}, "webhook_secret must be whsec_ and"),
        ({"webhook_secret": "whsec_" + "a" * 33}, "webhook_secret must be whsec_ and"),
        ({"webhook_secret": "a" * 32}, "webhook_secret must be whsec_ and"),
        ({"hold_seconds": float("inf")}, "hold_seconds is inf"),
        ({"max_queued": 10**9}, "at most 10000"),
        ({"flavours": {"sdxl": {"render_scale": 0}}}, "render_scale is 0.0; it must be from"),
        ({"flavours": {"sd15": {"guidance_factor": 0.0}}}, "sd15.guidance_factor is 0.0; it must be from 0.1 to 2.0"),
        ({"flavours": {"sdxl": {"render_scale": float("nan")}}}, "render_scale is nan"),
        ({"flavours": {"sd15": {"model_id": "a"}, "sdxl": {"model_id": "a"}}}, "several flavours have the model_id a"),
        ({"flavours": {"sd15": {"styles": {"anime": {"loras": {"a": float("inf")}}}}}}, "the strength of a must be"),
        ({"tokens": {"anna": "short"}}, "the tokens of anna have fewer than 16"),
        ({"tokens": {"": "sixteen characters"}}, "one without a name"),
        ({"tokens": ["sixteen characters"]}, "tokens must be a JSON object"),
        ({"token": "sixteen characters", "tokens": {"anna": "sixteen characters"}}, "two of the tokens are the same"),
        ({"default": "none"}, "default is 'none'; flavours has sd15, sdxl, tiny"),
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


@pytest.mark.parametrize("name", ["allowed_hosts", "served_as", "proxies"])
@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("http://nas.local", "is a URL; write the host alone"),
        ("nas.local:8080", "has a port"),
        ("192.168.1.7:80", "has a port"),
        ("[::1]:80", "has a port"),
        ("nas.local/photos", "is no network"),
        ("192.168.1.7/33", "is no network"),
        ("nas.*.local", "is no host"),
        ("*", "is no host"),
        ("a b", "is no host"),
        ("-a.local", "is no host"),
        ("user@nas.local", "is no host"),
        ("  ", "is empty"),
    ],
)
def test_a_host_that_would_never_work_is_refused(tmp_path, name, entry, says):
    with pytest.raises(ConfigError, match=rf"local_api.json: {name} has {re.escape(repr(entry))} {says}"):
        read(tmp_path, {name: ["nas.local", entry]})


@pytest.mark.parametrize(
    ("entry", "meant", "not_meant"),
    [
        ("192.168.1.7/24", "http://192.168.1.99/a", "http://192.168.2.7/a"),
        ("192.168.1.7", "http://192.168.1.7:81/a", "http://192.168.1.8/a"),
        ("[fd00::1]", "http://[fd00::1]/a", "http://[fd00::2]/a"),
        ("fd00::1/64", "http://[fd00::2]:8/a", "http://[fd01::2]/a"),
        (" NAS.Local. ", "http://nas.local/a", None),
        ("127.1", "http://127.1/a", "http://127.2/a"),
    ],
)
def test_a_host_is_meant_however_it_is_written(tmp_path, entry, meant, not_meant):
    guard = Guard(read(tmp_path, {"allowed_hosts": [entry]}).allowed_hosts)
    guard.check_url(meant)
    with pytest.raises(RefusedURL):
        guard.check_url(not_meant or "http://127.0.0.1/a")


@pytest.mark.parametrize("name", ["a.example.org", "a.b.Example.org.", "bücher.example.org"])
def test_all_names_below_one(name):
    hosts = Hosts(["*.example.org", "bücher.example"])
    assert hosts.has_name(name) and hosts.has_name("xn--bcher-kva.example") and hosts.has_name("BÜCHER.example")
    assert not any(map(hosts.has_name, ("example.org", "an-example.org", "example.org.evil.example", "x.bücher.example")))


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


def test_a_busy_server_looks_once_in_a_while(tmp_path, monkeypatch):
    now = 50.0
    monkeypatch.setattr(config_module.time, "monotonic", lambda: now)
    path = tmp_path / "local_api.json"
    path.write_text(json.dumps({"enabled": True}))
    file = ConfigFile(path)
    assert file.recent().enabled
    path.write_text(json.dumps({"enabled": False}))
    now += LOOK / 2
    assert file.recent().enabled, "it hasn't looked again"
    now += LOOK
    assert not file.recent().enabled and LOOK <= 0.001
    path.write_text("{")
    now += LOOK
    for _ in range(2):  # what can't be read is looked for each time
        with pytest.raises(ConfigError):
            file.recent()
    path.write_text(json.dumps({"enabled": True, "max_queued": 7}))
    assert file.recent().max_queued == 7

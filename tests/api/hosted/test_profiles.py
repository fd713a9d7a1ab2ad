"""Where the API key comes from, and who may read it."""

import base64
import html
import itertools
import json
import os
import time
from urllib.parse import quote, unquote

import pytest

from facegen.api.hosted import profiles
from facegen.api.hosted.profiles import Profile, ProfileError
from facegen.contract import ENDPOINT_NAMES

KEY, OTHER = "sk-one-0123456789", "sk-two-0123456789"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "modelslab.json"


def write(file, content, mode=0o600):
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    file.chmod(mode)


def load(file, name="default", **environ):
    return profiles.load(name, file, environ)


def test_the_environment_is_enough(file):
    profile = load(file, MODELSLAB_API_KEY=f" {KEY}\n")
    assert profile == Profile("default", KEY, "v6", "https://modelslab.com", "MODELSLAB_API_KEY")
    face_gen = profile.endpoint("face_gen")
    assert profile.submit_url(face_gen) == "https://modelslab.com/api/v6/image_editing/face_gen"
    assert profile.fetch_url(face_gen, 12) == "https://modelslab.com/api/v6/image_editing/fetch/12"


def test_profiles_of_the_file(file):
    work = {"key": OTHER, "family": "enterprise", "base_url": "http://127.0.0.1:8188/"}
    write(file, {"work": work, "default": {"key": KEY}, "env": {"family": "enterprise"}})
    assert profiles.names(file) == ["default", "env", "work"]
    assert load(file, MODELSLAB_API_KEY=OTHER).key == KEY, "the file's default counts more than the environment"
    assert load(file, "env", MODELSLAB_API_KEY=OTHER).key == OTHER
    profile = load(file, "work")
    assert (profile.key, profile.source, profile.host) == (OTHER, str(file), "127.0.0.1")
    head_shot, base = profile.endpoint("head_shot"), "http://127.0.0.1:8188/api/v1/enterprise"
    assert profile.submit_url(head_shot) == f"{base}/image_editing/head_shot"
    assert profile.fetch_url(head_shot, "a/b?c") == f"{base}/image_editing/fetch/a%2Fb%3Fc"


@pytest.mark.parametrize(
    ("family", "paths"),
    [
        ("v6", ["/v6/image_editing/face_gen", "/v6/image_editing/head_shot", "/v6/image_editing/flux_headshot"]),
        (
            "enterprise",
            [
                "/v1/enterprise/image_editing/face_gen",
                "/v1/enterprise/image_editing/head_shot",
                "/v1/enterprise/flux_headshot/make_gen",
            ],
        ),
        (
            "make_gen",
            [
                "/v1/enterprise/face_gen/make_gen",
                "/v1/enterprise/image_editing/head_shot",
                "/v1/enterprise/flux_headshot/make_gen",
            ],
        ),
    ],
)
def test_a_family_has_every_endpoint(family, paths):
    profile = Profile("x", KEY, family)
    assert [profile.endpoint(name).path for name in ENDPOINT_NAMES] == paths


def test_no_key_says_how_to_set_one(file):
    for environ in ({}, {"MODELSLAB_API_KEY": "  "}):
        with pytest.raises(ProfileError, match="No API key is configured, so nothing is sent.*MODELSLAB_API_KEY.*chmod 600"):
            load(file, **environ)


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o601, 0o620, 0o666])
def test_a_file_that_others_can_read_is_refused(file, mode):
    write(file, {"default": {"key": KEY}}, mode)
    with pytest.raises(ProfileError, match=f"mode {mode:04o}.*chmod 600 '{file}'"):
        load(file, MODELSLAB_API_KEY=OTHER)
    file.chmod(0o400)
    assert load(file).key == KEY


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON .line 1."),
        (f'{{"default": {{"key": "{KEY}"', "is not JSON"),
        ([KEY], "must be a JSON object of profiles"),
        ({"default": KEY}, "must be an object of texts"),
        ({"default": {"key": 12345678}}, "must be an object of texts"),
        ({"default": {"key": KEY, "url": "x"}}, "has url; known are base_url, family, key"),
        ({"default": {"key": KEY, "family": "v7"}}, "must be one of v6, enterprise, make_gen"),
        ({"default": {"key": ""}}, "No API key"),
        ({"default": {"key": "short"}}, "is not valid"),
        ({"default": {"key": "Bearer 0123456789"}}, "is not valid"),
        ({"default": {"key": "clé-0123456789"}}, "is not valid"),
        ({"default": {"key": KEY, "base_url": "http://example.com"}}, "must begin with https"),
        ({"default": {"key": KEY, "base_url": "http://127.0.0.1.example.com"}}, "must begin with https"),
        ({"default": {"key": KEY, "base_url": "http://192.168.0.2:8188"}}, "must begin with https"),
        ({"default": {"key": KEY, "base_url": "https://user:pw@example.com"}}, "must be https://host"),
        ({"default": {"key": KEY, "base_url": "https://example.com/api/v6"}}, "without a path"),
        ({"default": {"key": KEY, "base_url": "https://example.com?x=1"}}, "without a path"),
        ({"default": {"key": KEY, "base_url": "ftp://example.com"}}, "must be https://host"),
        ({"default": {"key": KEY, "base_url": "https://"}}, "must be https://host"),
        ({"default": {"key": KEY, "base_url": "https://x:99999"}}, "must be https://host"),
        ({"default": {"key": KEY, "base_url": "https://[bad"}}, "must be https://host"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_without_its_key(file, content, says):
    write(file, content)
    with pytest.raises(ProfileError, match=says) as raised:
        load(file)
    assert KEY not in str(raised.value)
    assert profiles.names(file)[0] == "default"


def test_an_unknown_profile_names_those_there_are(file):
    write(file, {"home": {"key": KEY}, "work": {"key": OTHER}})
    with pytest.raises(ProfileError, match="no profile 'play' in .*; it has home, work"):
        load(file, "play", MODELSLAB_API_KEY=KEY)


@pytest.mark.parametrize("url", ["http://localhost:81", "http://[::1]:81", "http://127.8.9.1", "https://my.host:8443"])
def test_plain_http_is_for_this_machine(file, url):
    write(file, {"default": {"key": KEY, "base_url": url}})
    assert load(file).base_url == url


def test_the_key_goes_to_the_profiles_own_server_alone():
    profile = Profile("default", KEY)
    assert all(profile.owns(url) for url in ("https://modelslab.com/x", "https://modelslab.com:443/y", "HTTPS://ModelsLab.com"))
    foreign = [
        "http://modelslab.com/x",
        "https://modelslab.com:8443/x",
        "https://modelslab.com.evil.example/x",
        "//modelslab.com",
        "https://evil.example/https://modelslab.com",
        "https://modelslab.com@evil.example/",
        "https://api.modelslab.com/x",
        "https://a:b@modelslab.com/",
        "https://[bad",
        "",
        "https://modelslab.com:x/",
    ]
    assert [url for url in foreign if profile.owns(url)] == []


def test_the_key_is_in_no_text():
    key = 'a/b+0123456789"<'
    profile = Profile("default", key)
    forms = [
        key,
        key.upper(),
        quote(key, safe=""),
        quote(key),  # with its / kept
        quote(quote(key, safe=""), safe=""),
        quote(key, safe="").lower(),
        json.dumps(key)[1:-1],
        json.dumps(key)[1:-1].replace("/", "\\/"),
        json.dumps(json.dumps(key)[1:-1])[1:-1],
        html.escape(key),
        html.escape(html.escape(key)),
        key.replace("/", "&sol;").replace("+", "&plus;"),
        "".join(f"&#{ord(sign)};" for sign in key),
        "".join(f"&#{ord(sign):05d};" for sign in key),
        "".join(f"&#x{ord(sign):X};" for sign in key),
        "".join(f"\\u{ord(sign):04x}" for sign in key),
        "".join(f"\\u{ord(sign):04X}" for sign in key),
        "".join(f"\\x{ord(sign):02x}" for sign in key),
        "".join(f"%{ord(sign):02X}" for sign in key),
        key.encode().hex(),
        key.encode().hex().upper(),
        repr(key)[1:-1],
    ]
    assert [profile.redact(f"key={form}.") for form in forms] == ["key=***."] * len(forms)
    ordinary = "The key a/b is wrong: 0123456789 is no part of it; 100 % &amp; more"
    assert profile.redact(ordinary) == ordinary
    assert profile.redact({"x": [forms[0], {forms[0]: 1}], "n": 5}) == {"x": ["***", {"***": 1}], "n": 5}
    assert "0123456789" not in repr(profile) + str(profile)


@pytest.mark.parametrize("length", range(8, 20, 2))
def test_base64_of_a_text_with_the_key_gives_nothing_of_it_away(length):
    key = "~?>/k1~?>/k2~?>/k3~?>"[:length]  # makes + and / in base64
    profile = Profile("default", key)
    for before, encode in itertools.product(("", "k", "ke", "key=", "user:"), (base64.b64encode, base64.urlsafe_b64encode)):
        text = encode(f"{before}{key};x".encode()).decode()
        for written in (text, text.rstrip("="), text.replace("/", "\\/"), quote(text, safe="")):
            left = profile.redact(f"Basic {written}")
            assert "***" in left, (written, left)
            first = unquote(left.partition("***")[0].replace("\\/", "/").removeprefix("Basic "))
            shown = base64.urlsafe_b64decode(first + "A" * (-len(first) % 4)).decode("latin-1")
            assert key[:3] not in shown


def test_a_picture_costs_little_to_look_through():
    """Three megabytes, of which no other thread may do anything meanwhile; the key in it is found all the same."""
    profile = Profile("default", "sk-facegen-0123456789")
    picture = base64.b64encode(bytes(range(256)) * (3 << 12)).decode()
    began = time.thread_time()
    assert profile.redact({"output": [picture]}) == {"output": [picture]}
    assert time.thread_time() - began < 0.1
    hidden = base64.b64encode(bytes(range(200)) + profile.key.upper().encode() + bytes(range(200))).decode()
    assert profile.redact(picture + profile.key.upper() + picture) == f"{picture}***{picture}"
    assert "***" in profile.redact(base64.b64encode(b"x" * 300 + profile.key.encode() + b"y" * 300).decode()) and hidden

"""Who may call the local API, and what it does with bodies that are none."""

import json
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

from facegen.api.local.config import LocalConfig
from facegen.api.local.routes.access import check_host
from facegen.api.local.routes.paths import CANCEL, FETCH
from facegen.nodes.host.local_api.place import comfyui_place
from local_api_server import BODY, ROUTES, SUBMIT_URL, TOKEN, LocalServer, bearer
from waiting import until


@pytest.mark.parametrize("path", ROUTES)
def test_off_by_default(tmp_path, path):
    with LocalServer(tmp_path) as server:
        status, answer = server.post(path, BODY)
        assert status == 404 and answer["status"] == "error" and "turn it on in ComfyUI's settings" in answer["message"]
        assert not server.config.exists() and not list(tmp_path.rglob("*.sqlite"))


@pytest.mark.parametrize("path", ROUTES)
def test_a_browser_is_told_to_post(any_kind, tmp_path, path):
    with any_kind(tmp_path, enabled=False) as server:
        status, answer = server.get(path)
        assert status == 404 and answer["message"].endswith(server.place.turn_on)
        server.configure(enabled=True)
        status, answer = server.get(f"/api{path}")
        url = f"http://127.0.0.1:{server.port}/api{path}"
        assert status == 405 and answer["message"].startswith(f"Send a POST with a JSON body to {url}. docs/local-api.md")
        assert server.get(path, headers={"Host": "evil.example"})[0] == 403


def test_one_setting_turns_it_on_and_off(any_kind, tmp_path):
    with any_kind(tmp_path, profiles=lambda: ["default", "work"], enabled=False) as server:
        off = {
            "local_api": {"enabled": False, "available": True, "reason": None},
            "modelslab": {"profiles": ["default", "work"]},
        }
        assert server.get("/facegen/settings") == (200, off)
        status, on = server.post("/facegen/settings", {"local_api": {"enabled": True}})
        assert status == 200 and on["local_api"]["enabled"]
        assert server.submit(BODY)["status"] == "success"
        assert server.post("/facegen/settings", {"local_api": {"enabled": False}}) == (200, off)
        assert server.post(SUBMIT_URL, BODY)[0] == 404
        kept = json.loads(server.config.read_text())
        assert kept["enabled"] is False and kept["webhook_secret"].startswith("whsec_")


@pytest.mark.parametrize("body", [{}, {"local_api": {"enabled": "yes"}}, {"local_api": None}, [], "on"])
def test_a_settings_body_that_is_none(shared_server, body):
    status, answer = shared_server.post("/facegen/settings", raw=json.dumps(body).encode())
    assert status == 400 and "enabled" in answer["error"]


def test_settings_beside_the_switch_are_kept(any_kind, tmp_path):
    with any_kind(tmp_path, max_queued=3, allowed_hosts=["nas.local"]) as server:
        server.post("/facegen/settings", {"local_api": {"enabled": True}})
        kept = json.loads(server.config.read_text())
        assert kept["max_queued"] == 3 and kept["allowed_hosts"] == ["nas.local"]


# --- beyond this machine


@pytest.mark.parametrize("listen", [("0.0.0.0",), ("127.0.0.1", "::"), ("192.168.1.5",), ("",)])
def test_others_can_call_so_a_token_is_needed(tmp_path, listen, caplog):
    with LocalServer(tmp_path, listen=listen, enabled=True) as server:
        assert "did not start" in caplog.text and "needs a token" in caplog.text
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 403 and "FACEGEN_API_TOKEN" in answer["message"]
        status, answer = server.post("/facegen/settings", {"local_api": {"enabled": True}})
        assert status == 409 and "needs a token" in answer["error"]
        assert not server.comfy.prompts


@pytest.mark.parametrize("from_environment", [True, False])
def test_with_a_token_the_key_has_to_be_it(any_kind, tmp_path, monkeypatch, from_environment):
    if from_environment:
        monkeypatch.setenv("FACEGEN_API_TOKEN", TOKEN)
    with any_kind(tmp_path, listen=("0.0.0.0",), enabled=True, **({} if from_environment else {"token": TOKEN})) as server:
        for key in ("", "wrong", None, 5, TOKEN[:-1], TOKEN + "x", "\ud800", [TOKEN]):
            status, answer = server.post(SUBMIT_URL, {**BODY, "key": key})
            assert status == 401 and answer["status"] == "error", key
            lacks = answer["message"].startswith("A token of this machine is needed, as key or in a Bearer header.")
            assert lacks == (not key) and lacks != ("is not a token of this machine" in answer["message"]), key
        assert server.submit({**BODY, "key": TOKEN})["status"] == "success"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert server.submit({**BODY, "key": "wrong"}, headers=bearer)["status"] == "success"
        assert len(server.made) == 2
        assert TOKEN not in repr(server.made) + json.dumps(server.get("/facegen/settings")[1])


ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}  # as a reverse proxy on this machine passes a call on


@pytest.mark.parametrize("enabled", [True, False])
def test_others_need_the_token_to_turn_it_on_or_off(any_kind, tmp_path, enabled):
    with any_kind(tmp_path, listen=("0.0.0.0",), enabled=True, tokens={"anna": TOKEN}) as server:
        switch = {"local_api": {"enabled": enabled}}
        for headers in (ELSEWHERE, {**ELSEWHERE, **bearer("wrong")}, {"Via": "1.1 proxy"}, {"Host": "192.168.7.7:8188"}):
            status, answer = server.post("/facegen/settings", switch, headers=headers)
            assert status == 403 and "on this machine, at http://127.0.0.1:" in answer["error"], headers
        assert json.loads(server.config.read_text())["enabled"] is True
        for body, headers in ((switch, ELSEWHERE | bearer(TOKEN)), (switch | {"key": TOKEN}, ELSEWHERE), (switch, {})):
            assert server.post("/facegen/settings", body, headers=headers)[0] == 200
            assert json.loads(server.config.read_text())["enabled"] is enabled


def test_without_a_token_only_this_machine_turns_it_on_or_off(shared_server):
    switch = {"local_api": {"enabled": False}}
    assert shared_server.post("/facegen/settings", switch, headers=ELSEWHERE | bearer(TOKEN))[0] == 403
    assert shared_server.get("/facegen/settings")[1]["local_api"]["enabled"]


def called(host, remote, at):
    """A call by the name `host` from the address `remote`, on a connection to the address `at`."""
    names = {"peername": (remote, 5) if remote else None, "sockname": (at, 8188)}
    transport = Mock(get_extra_info=lambda name, default=None: names.get(name, default))
    return make_mocked_request("GET", "/", headers={"Host": host}, transport=transport)


@pytest.mark.parametrize(
    ("remote", "host", "local"),
    [
        ("192.168.1.6", "192.168.1.6:8188", True),  # its own address
        ("192.168.1.6", "faces.example.org", False),
        ("127.0.0.1", "localhost", True),
        ("::1", "[::1]:8188", True),
        ("127.0.0.5", "127.0.0.1", True),
        ("192.168.1.5", "localhost", False),
        ("172.17.0.1", "127.0.0.1", False),
        ("127.0.0.1", "faces.example.org", False),  # a tunnel
        (None, "localhost", False),
    ],
)
def test_what_counts_as_this_machine(remote, host, local):
    request = called(host, remote, "192.168.1.6")
    assert check_host(request, LocalConfig(served_as=("faces.example.org",))).is_local is local


def test_a_request_belongs_to_the_token_that_made_it(any_kind, tmp_path, monkeypatch):
    """Ids are counted up: others that know a token must not read, or stop, what they guess."""
    anna, ben = "the-token-of-anna", "the-token-of-ben!"
    with any_kind(
        tmp_path, listen=("0.0.0.0",), enabled=True, hold_seconds=0, token=TOKEN, tokens={"anna": anna, "ben": ben}
    ) as server:
        server.gate.clear()
        identifier = server.submit({**BODY, "key": anna, "prompt": "a secret"})["id"]
        server.wait_for(1)
        for other in (ben, TOKEN):
            for path in (*FETCH, *CANCEL):
                body = {"key": other, "request_id": identifier}
                status, answer = server.post(path.replace("{id}", str(identifier)), body)
                assert status == 200 and "no request with this id" in answer["message"] and "secret" not in json.dumps(answer)
        server.gate.set()
        until(lambda: server.post(FETCH[0].format(id=identifier), headers=bearer(anna))[1]["status"] == "success")
        assert server.post(FETCH[0].format(id=identifier), {"key": anna})[1]["meta"]["prompt"] == "a secret"


def test_what_comfyui_shows_to_everybody_leads_to_no_result(tmp_path):
    """Its queue and history have the graph; with --listen, whoever reaches it reads them."""
    with LocalServer(tmp_path, enabled=True) as server:
        link = server.submit(BODY)["output"][0]
        secret = link.rpartition("/")[2].partition("-")[0]
        shown = json.dumps([server.comfy.prompts, server.comfy.history])
        assert len(secret) == 32 and secret not in shown
        (face,) = (n["inputs"]["image"] for n in server.comfy.prompts[0].values() if n["class_type"] == "LoadImage")
        name = face.rpartition("/")[2].partition(".")[0]
        assert server.get(link.replace(secret, name))[0] == 404 and server.get(link)[0] == 200


# --- behind a proxy


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"Host": "faces.example.org", "X-Forwarded-Proto": "https"}, "https://faces.example.org"),
        ({"X-Forwarded-Host": "faces.example.org", "X-Forwarded-Proto": "https"}, "https://faces.example.org"),
        ({"X-Forwarded-Host": "faces.example.org:8443", "X-Forwarded-Proto": "HTTPS, http"}, "https://faces.example.org:8443"),
        ({"Host": "faces.example.org", "X-Forwarded-Proto": "gopher"}, "http://faces.example.org"),
        ({"Host": "faces.example.org"}, "http://faces.example.org"),
        ({"Host": "a.tunnel.example", "X-Forwarded-Proto": "https"}, "https://a.tunnel.example"),
    ],
)
def test_links_carry_the_name_and_scheme_that_the_proxy_was_called_by(any_kind, tmp_path, headers, origin):
    with any_kind(tmp_path, enabled=True, served_as=["Faces.example.org.", "*.tunnel.example"]) as server:
        answer = server.submit(BODY, headers=headers)
        assert answer["output"][0].startswith(f"{origin}/api/facegen/files/"), answer


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-Host": "evil.example"}, {"Host": "evil.example", "X-Forwarded-Host": "localhost"}]
)
def test_a_forwarded_name_has_to_be_ours_and_hides_no_other(shared_server, headers):
    """The script of a page whose name was made to lead here (DNS rebinding) may send any header but Host."""
    status, answer = shared_server.post(SUBMIT_URL, BODY, headers=headers)
    assert status == 403 and "by the name evil.example" in answer["message"]


def test_who_is_no_proxy_is_not_believed(any_kind, tmp_path):
    with any_kind(tmp_path, enabled=True, proxies=["192.0.2.1"], served_as=["faces.example.org"]) as server:
        headers = {"X-Forwarded-Host": "faces.example.org", "X-Forwarded-Proto": "https"}
        assert server.submit(BODY, headers=headers)["output"][0].startswith(f"http://127.0.0.1:{server.port}/")


def test_a_page_under_another_name_is_told_that_it_is_off(any_kind, tmp_path):
    """So that ComfyUI's own pages have nothing to complain of while nobody uses the API."""
    with any_kind(tmp_path, profiles=lambda: ["work"], enabled=False) as server:
        status, answer = server.get("/facegen/settings", headers={"Host": "abc.cloud.example"})
        assert status == 200 and answer["modelslab"]["profiles"] == []
        assert (
            not answer["local_api"]["enabled"]
            and "abc.cloud.example, which is not listed in served_as" in answer["local_api"]["reason"]
        )


def test_others_are_told_why_it_is_off_but_no_paths(any_kind, tmp_path):
    def reason(headers):
        return server.get("/facegen/settings", headers=headers)[1]["local_api"]["reason"]

    with any_kind(tmp_path, listen=("0.0.0.0",), enabled=True, token=TOKEN) as server:
        server.configure(enabled=True)
        assert all("FACEGEN_API_TOKEN" in reason(headers) for headers in (ELSEWHERE, {}))
        server.configure(enabled="yes", token=TOKEN)
        assert str(tmp_path) not in reason(ELSEWHERE) and str(tmp_path) in reason({})


def test_a_short_token_is_refused(any_kind, tmp_path):
    with any_kind(tmp_path, enabled=True) as server:
        server.configure(enabled=True, token="short")
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 503 and "fewer than 16 characters" in answer["message"]


@pytest.mark.parametrize(
    ("listen", "loopback", "url"),
    [
        (("127.0.0.1",), True, "http://127.0.0.1:81"),
        (("127.0.0.9", "::1"), True, "http://127.0.0.9:81"),
        (("localhost",), True, "http://localhost:81"),
        (("0.0.0.0", "::"), False, "http://127.0.0.1:81"),
        (("::",), False, "http://[::1]:81"),
        (("10.0.0.5",), False, "http://10.0.0.5:81"),
        (("10.0.0.5", "127.0.0.1"), False, "http://127.0.0.1:81"),
    ],
)
def test_where_comfyui_listens(tmp_path, listen, loopback, url):
    place = comfyui_place(listen, 81, False, tmp_path, tmp_path)
    assert (place.is_loopback, place.url) == (loopback, url)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8188", 200),
        ("[::1]:99", 200),
        ("192.168.7.7", 200),
        ("faces.example.org", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("a@b:c", 403),
        ("[::1", 403),
    ],
)
def test_the_host_header_is_checked(any_kind, tmp_path, host, status):
    with any_kind(tmp_path, enabled=True, served_as=["faces.example.org"]) as server:
        got, answer = server.post("/api/v6/images/fetch/1", headers={"Host": host})
        assert got == (status if host else 400) or (not host and got == 403), answer


def test_settings_are_not_shown_to_a_rebound_name(shared_server):
    for call in (shared_server.get, lambda path, **o: shared_server.post(path, {"local_api": {"enabled": False}}, **o)):
        assert call("/facegen/settings", headers={"Host": "evil.example"})[0] == 403
    assert shared_server.get("/facegen/settings")[1]["local_api"]["enabled"]


def test_the_links_carry_the_name_that_was_called(shared_server):
    answer = shared_server.submit(BODY, headers={"Host": "localhost:1234"})
    assert answer["output"][0].startswith("http://localhost:1234/api/facegen/files/")

"""Guarded requests: no way of writing an address, no name and no redirect leads into this machine's surroundings."""

import asyncio
import contextlib
import http.server
import ipaddress
import socket
import threading
import time
from dataclasses import replace

import aiohttp
import pytest

from facegen.api.download import DownloadError, Guard, Limits, RefusedURL, download, is_public, post

SMALL = Limits(bytes=1000, seconds=30, redirects=2)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append(self.path)
        getattr(self, self.path.strip("/").partition("?")[0].partition("/")[0])()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, body, dict(self.headers)))
        self.send(204 if self.path == "/hook" else 500)

    def send(self, status=200, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def photo(self):
        self.send(body=b"picture")

    def to(self):
        self.send(302, Location=self.path.partition("?")[2])

    def moved(self):
        self.send(302, Location=self.server.target)

    def loop(self):
        self.send(307, Location="/loop")

    def nowhere(self):
        self.send(302, Location="http://[broken")

    def large(self):
        self.send(body=b"x" * 1001)

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"64\r\n" + b"x" * 100 + b"\r\n")

    def cut(self):
        self.send(body=b"short", **{"Content-Length": "50"})
        self.close_connection = True

    def drip(self):
        self.send_response(200)
        self.send_header("Content-Length", "900")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(900):
                self.wfile.write(b"x")
                time.sleep(0.1)

    def packed(self):
        self.send(body=b"\x1f\x8b" + b"\0" * 20, **{"Content-Encoding": "gzip"})

    def missing(self):
        self.send(404, b"no")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen, server.daemon_threads = [], True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def url_of(site, path):
    return f"http://127.0.0.1:{site.server_port}/{path}"


def get(url, allow=(), limits=SMALL):
    return asyncio.run(download(url, limits, allow))


# Sixty ways to a machine that is not on the public internet; PORT is that of a server which would answer.
LOOPBACK = [
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0177.1",
    "127.0.0.1.",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "１２７.0.0.1",
    "0.0.0.0",
    "0",
    "0x0",
    "00",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "localhost",
    "LOCALHOST",
]
NEIGHBOURS = [
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "0xa9fea9fe",
    "2852039166",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fd00:ec2::254]",
    "[fc00::1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "198.18.0.1",
    "192.0.2.1",
    "203.0.113.5",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "[ff02::1]",
    "[fec0::1]",
    "[100::1]",
    "[3fff::1]",
    "[2001:db8::1]",
]


@pytest.mark.parametrize("host", LOOPBACK + NEIGHBOURS)
def test_addresses_that_are_not_public_are_refused(site, host):
    before = len(site.seen)
    with pytest.raises(RefusedURL):
        get(f"http://{host}:{site.server_port}/photo")
    assert len(site.seen) == before


def test_there_are_sixty_of_them():
    assert len(set(LOOPBACK + NEIGHBOURS)) >= 60


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a",
        "file:///etc/passwd",
        "gopher://example.org",
        "//example.org/a",
        "example.org",
        "",
        "http://",
        "http:///a",
        "data:text/plain,a",
        "http://user@example.org/",
        "http://user:word@example.org/",
        "http://:word@example.org/",
        "http://example.org:99999/",
        "http://[::1/",
        "javascript:alert(1)",
        "HTTP+UNIX://x/",
    ],
)
def test_urls_that_are_not_requested(url):
    with pytest.raises(RefusedURL):
        get(url)


SIGNED = [
    "a%2Fb/c%2fd",
    "caf%C3%A9%20%7E",
    "x?X-Amz-Signature=a%2Bb%2F&X-Amz-Date=2026%3A01",
    "x?sig=a+b&v=%61%62",
    "x?redirect=https://example.org/a?b=c&d=%26",
    "a;b=1,c=(2)!*'/$x@y:z",
    "%E4%BD%A0?%E5%A5%BD=%E5%90%97",
    "x?a=1&&b=&c",
    "x?~-._=%7e%2D%2E%5F",
    "a//b/./c/../d?",
    'x?q=[1]{2}|3^`"<>',
    "x?percent=%&half=%2&odd=%zz",
]


@pytest.mark.parametrize("link", SIGNED)
@pytest.mark.parametrize("way", ["straight", "redirect", "relative redirect"])
def test_a_link_arrives_as_it_was_given(site, link, way):
    """Byte for byte: a signature holds for this spelling alone."""
    wanted = f"/photo/{link}"
    if way == "straight":
        url = url_of(site, wanted[1:])
    else:
        site.target = url_of(site, wanted[1:]) if way == "redirect" else wanted
        url = url_of(site, "moved")
    assert get(url, ["127.0.0.1"]) == b"picture"
    assert site.seen[-1] == wanted


def test_what_no_link_may_hold_is_written_as_browsers_do(site):
    assert get(url_of(site, "photo/\u00e9 x?\u4f60=%C3%A9#part"), ["127.0.0.1"]) == b"picture"
    assert site.seen[-1] == "/photo/%C3%A9%20x?%E4%BD%A0=%C3%A9"
    assert get(f"  HTTP://127.0.0.1:{site.server_port}?photo\n".replace("?photo", "/photo"), ["127.0.0.1"]) == b"picture"


@pytest.mark.parametrize("sign", ["\r\nX-Injected: 1", "\n", "\t", "\x00", "\x1b[2J", "\x7f", "\x85", "\u2028", "\ud800"])
def test_a_link_with_control_characters_is_refused(site, sign):
    before = len(site.seen)
    for url in (f"{url_of(site, 'photo')}{sign}/x", f"http://127.0.0.1{sign}:{site.server_port}/photo"):
        with pytest.raises(RefusedURL) as error:
            get(url, ["127.0.0.1"])
        assert str(error.value).isprintable()
    assert len(site.seen) == before


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("allow", [["127.0.0.1"], ["127.0.0.0/8"], ["nas.local", "127.0.0.1/32"]])
def test_what_is_allowed_by_name_is_fetched(site, allow):
    assert get(url_of(site, "photo"), allow) == b"picture"


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.2:{port}/photo", "file:///etc/passwd", "http://u:p@127.0.0.1:{port}/photo", "http://[::1]:{port}/photo"],
)
def test_each_redirect_is_checked(site, target):
    before = len(site.seen)
    with pytest.raises(RefusedURL):
        get(url_of(site, "to?" + target.format(port=site.server_port)), ["127.0.0.1"])
    assert len(site.seen) == before + 1


def test_a_redirect_is_followed(site):
    assert get(url_of(site, "to?/photo"), ["127.0.0.1"]) == b"picture"


class Names:
    """A resolver that answers as its tests say, one list of addresses after another."""

    def __init__(self, monkeypatch, *answers):
        self.answers, self.asked = list(answers), 0
        monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", self.resolve)

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        flags = {"proto": 0, "flags": socket.AI_NUMERICHOST, "family": socket.AF_INET}
        return [{"hostname": host, "host": address, "port": port, **flags} for address in addresses]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["192.168.1.1"], ["169.254.169.254"]])
def test_a_name_that_leads_inside_is_refused(site, monkeypatch, addresses):
    before = len(site.seen)
    Names(monkeypatch, addresses)
    with pytest.raises(RefusedURL, match="inside.example"):
        get(f"http://inside.example:{site.server_port}/photo")
    assert len(site.seen) == before


def test_the_connection_goes_where_the_check_looked(site, monkeypatch):
    """Rebinding: the name would lead elsewhere when asked again, so it is asked once per connection."""
    names = Names(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    assert get(f"http://rebind.example:{site.server_port}/photo", ["127.0.0.1"]) == b"picture"
    assert names.asked == 1
    with pytest.raises(RefusedURL):
        get(f"http://rebind.example:{site.server_port}/photo", ["127.0.0.1"])


def test_no_proxy_of_the_environment_is_used(site, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", url_of(site, ""))
    monkeypatch.setenv("http_proxy", url_of(site, ""))
    Names(monkeypatch, ["127.0.0.1"])
    before = len(site.seen)
    with pytest.raises(RefusedURL):
        get("http://inside.example/photo")
    assert len(site.seen) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("large", "sends more than 0 MB"),
        ("endless", "sends more than 0 MB"),
        ("cut", "broke off"),
        ("drip", "did not answer within 2 seconds"),
        ("loop", "redirects more than 2 times"),
        ("nowhere", "not a URL"),
        ("missing", "answers 404"),
    ],
)
def test_limits(site, path, message):
    began = time.monotonic()
    with pytest.raises(DownloadError, match=message):
        get(url_of(site, path), ["127.0.0.1"], replace(SMALL, seconds=2) if path == "drip" else SMALL)
    assert time.monotonic() - began < 60


def test_a_compressed_body_is_not_unpacked(site):
    assert get(url_of(site, "packed"), ["127.0.0.1"]).startswith(b"\x1f\x8b")


def test_a_message_has_no_query(site):
    with pytest.raises(DownloadError) as error:
        get(url_of(site, "missing?token=hidden"), ["127.0.0.1"])
    assert "hidden" not in str(error.value)


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError, match="can't be reached"):
            get(f"http://127.0.0.1:{taken.getsockname()[1]}/", ["127.0.0.1"])


def test_post(site):
    send = lambda path, allow: asyncio.run(post(url_of(site, path), b"{}", {"X-A": "b"}, SMALL, allow))  # noqa: E731
    assert send("hook", ["127.0.0.1"]) == 204 and send("other", ["127.0.0.1"]) == 500
    path, body, headers = site.seen[-2]
    assert (path, body, headers["X-A"]) == ("/hook", b"{}", "b")
    with pytest.raises(RefusedURL):
        send("hook", [])


def test_a_guard_takes_hosts_of_any_case():
    assert Guard(["NAS.Local"]).check_url("http://nas.local./x").host == "nas.local."

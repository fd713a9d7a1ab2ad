"""The local API as its tests meet it: served by ComfyUI's stand-in, and turned on."""

import pytest

from local_api_server import LocalServer
from serve_server import ServeServer

KINDS = {"comfyui": LocalServer, "serve": ServeServer}


@pytest.fixture
def server(tmp_path):
    """One of the test's own, to be configured and broken."""
    with LocalServer(tmp_path, enabled=True, poll_seconds=0.3) as running:
        yield running


@pytest.fixture(params=KINDS)
def any_kind(request):
    """Each of the two that answer alike: ComfyUI's stand-in, and serve's front. To be made with a folder and settings."""
    return KINDS[request.param]


@pytest.fixture
def any_server(any_kind, tmp_path):
    """Each of the two, for one test."""
    with any_kind(tmp_path, enabled=True, poll_seconds=0.3) as running:
        yield running


@pytest.fixture(scope="module", params=KINDS)
def shared_server(request, tmp_path_factory):
    """Each of the two, one for all tests of a file, which leave it as it was."""
    with KINDS[request.param](tmp_path_factory.mktemp("local"), enabled=True, poll_seconds=0) as running:
        yield running

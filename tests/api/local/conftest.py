"""The local API as its tests meet it: served by ComfyUI's stand-in, and turned on."""

import pytest

from local_api_server import LocalServer


@pytest.fixture
def server(tmp_path):
    """One of the test's own, to be configured and broken."""
    with LocalServer(tmp_path, enabled=True, poll_seconds=0.3) as running:
        yield running


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One for all tests of a file, which leave it as it was."""
    with LocalServer(tmp_path_factory.mktemp("local"), enabled=True, poll_seconds=0) as running:
        yield running

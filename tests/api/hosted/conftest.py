"""The hosted service, as the client's tests meet it."""

import pytest

from modelslab_server import ModelsLabServer


@pytest.fixture
def service():
    """A loopback server that speaks the service's contract and counts what it would bill."""
    with ModelsLabServer() as server:
        yield server

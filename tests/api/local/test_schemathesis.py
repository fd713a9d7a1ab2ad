"""The OpenAPI description, tried on both servers by schemathesis: whatever it allows is answered as it says."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from serve_server import ServeServer

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

DESCRIPTION = json.loads((Path(__file__).parents[3] / "api" / "openapi.json").read_text(encoding="utf-8"))
# Turning the API off would leave nothing to try.
LEFT_OUT = {("POST", "/facegen/settings")}
OPERATIONS = [
    found.ok()
    for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()
    if (found.ok().method.upper(), found.ok().path) not in LEFT_OUT
]
# What is read leniently is not refused, so the checks that wait for refusals aren't among these.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def test_all_of_it_is_tried():
    assert len(OPERATIONS) == sum(len(methods) for methods in DESCRIPTION["paths"].values()) - len(LEFT_OUT)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method.upper()} {operation.path}")
def test_it_is_answered_as_described(shared_server, operation):
    if "Of serve alone" in operation.definition.raw["summary"] and not isinstance(shared_server, ServeServer):
        pytest.skip("ComfyUI has its own")
    if isinstance(shared_server, ServeServer):
        shared_server.front.is_ready = True

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def run(case):
        case.call_and_validate(base_url=f"http://127.0.0.1:{shared_server.port}", checks=CHECKS, timeout=30)

    run()

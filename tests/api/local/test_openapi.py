"""The OpenAPI description of the local API: valid, complete, and true of the routes and of what they answer."""

import json
from pathlib import Path

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from facegen.api.local.routes.local_api import LocalApi
from facegen.api.local.routes.paths import ASKED_IN_VAIN, CLEAR, COUNT, DETAILS, ROUTES, SUBMIT
from facegen.contract import TYPE_NAMES
from facegen.nodes.host.local_api.place import comfyui_place
from local_api_server import BODY

DESCRIPTION = json.loads((Path(__file__).parents[3] / "api" / "openapi.json").read_text(encoding="utf-8"))
SCHEMAS = DESCRIPTION["components"]["schemas"]


def described():
    return {(method.upper(), path) for path, item in DESCRIPTION["paths"].items() for method in item}


def operation(method, path):
    return DESCRIPTION["paths"][path][method.lower()]


def test_it_is_openapi():
    assert list(OpenAPIV31SpecValidator(DESCRIPTION).iter_errors()) == []


def test_it_has_every_route_and_no_other(tmp_path):
    api = LocalApi(comfyui_place(("127.0.0.1",), 8188, False, tmp_path, tmp_path), backend=None)
    of_serve = {route for route in described() if "Of serve alone" in operation(*route)["summary"]}
    assert described() - of_serve == set(ROUTES) == set(api.handlers) - set(ASKED_IN_VAIN)
    assert of_serve == {("GET", path) for path in ("/healthz", "/readyz", "/metrics")}


@pytest.mark.parametrize("path", SUBMIT)
def test_its_request_is_the_contract(path):
    content = DESCRIPTION["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    schema, fields = SCHEMAS[content["schema"]["$ref"].rpartition("/")[2]], SUBMIT[path].fields
    assert set(schema["properties"]) == {"key", "model_id", *fields}
    assert schema["required"] == [name for name, rule in fields.items() if rule.required]
    for name, rule in fields.items():
        found = schema["properties"][name]
        kinds = rule.type if isinstance(rule.type, tuple) else (rule.type,)
        types = [TYPE_NAMES[kind] for kind in kinds] + ["null"] * rule.nullable
        assert found["type"] in (types, types[0]) and found["description"].startswith(rule.description)
        # Without a size it is the photo's.
        assert found.get("default") == (None if name in ("width", "height") else rule.default)
        # A user may have styles of their own.
        choices = found.get("examples" if name == "style" else "enum", ())
        assert tuple(choices) == rule.choices
        limits = (rule.minimum, rule.maximum, rule.multiple_of)
        assert (found.get("minimum"), found.get("maximum"), found.get("multipleOf")) == limits


def test_its_examples_are_what_they_are_examples_of():
    found = {name: schema["examples"] for name, schema in SCHEMAS.items() if "examples" in schema}
    assert {"FaceGenRequest", "HeadShotRequest", "FluxHeadshotRequest", "Success", "Processing", "Error"} <= set(found)
    for name, examples in found.items():
        for example in examples:
            jsonschema.validate(example, {**SCHEMAS[name], "components": DESCRIPTION["components"]})


def check(answer, method, path, status):
    """The decoded answer against the schema of the described one."""
    response = DESCRIPTION["paths"][path][method]["responses"][str(status)]
    if "$ref" in response:
        response = DESCRIPTION["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"]["application/json"]["schema"]
    jsonschema.validate(answer, {**schema, "components": DESCRIPTION["components"]})


SUBMIT_URL = "/v6/image_editing/face_gen"


def test_its_answers_are_those_given(any_kind, tmp_path):
    with any_kind(tmp_path, enabled=True, max_queued=1, poll_seconds=0.05) as server:
        done = server.submit(BODY)
        check(done, "post", SUBMIT_URL, 200)
        check(server.submit({}), "post", SUBMIT_URL, 200)
        check(server.submit(BODY, "v6/image_editing/flux_headshot"), "post", "/v6/image_editing/flux_headshot", 200)
        for path in (COUNT, *DETAILS, *CLEAR):
            check(server.post(path)[1], "post", path, 200)
        check(server.get(COUNT)[1], "get", COUNT, 200)
        check(server.fetch(done["id"]), "post", "/v6/image_editing/fetch/{id}", 200)
        check(server.fetch(99), "post", "/v6/image_editing/fetch/{id}", 200)
        upload = server.post("/v6/base64_to_url", {"base64_string": BODY["face_image"]})[1]
        check(upload, "post", "/v6/base64_to_url", 200)
        check(server.get("/facegen/settings")[1], "get", "/facegen/settings", 200)
        check(server.get("/facegen/local_api")[1], "get", "/facegen/local_api", 200)
        status, refused = server.get("/facegen/settings", headers={"Host": "evil.example"})
        check(refused, "get", "/facegen/settings", status)
        server.configure(enabled=True, max_queued=1, hold_seconds=0, poll_seconds=0.05)
        server.gate.clear()
        check(server.submit(BODY), "post", SUBMIT_URL, 200)
        status, full = server.post(SUBMIT_URL, BODY)
        assert status == 429
        check(full, "post", SUBMIT_URL, 429)
        cancelled = server.post(f"/v6/image_editing/cancel/{done['id'] + 1}")[1]
        check(cancelled, "post", "/v6/image_editing/cancel/{id}", 200)
        check(server.post(SUBMIT_URL, raw=b"{")[1], "post", SUBMIT_URL, 400)


def test_a_style_of_one_s_own_is_within_the_description():
    schema = {**SCHEMAS["FaceGenRequest"], "components": DESCRIPTION["components"]}
    jsonschema.validate({**BODY, "style": "Oil painting"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**BODY, "style": 5}, schema)


def test_a_wrong_answer_would_be_noticed():
    with pytest.raises(jsonschema.ValidationError):
        check({"status": "success", "id": "7"}, "post", SUBMIT_URL, 200)

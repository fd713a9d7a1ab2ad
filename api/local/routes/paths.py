"""The paths of the local Face Generator API. Each is served under PREFIX, too, and so the answers give them."""

PREFIX = "/api"

FAMILIES = ("/v6/image_editing", "/v1/enterprise/image_editing", "/v1/enterprise/face_gen")
SUBMIT = ("/v6/image_editing/face_gen", "/v1/enterprise/image_editing/face_gen", "/v1/enterprise/face_gen/make_gen")
FETCH = (*(f"{family}/fetch/{{id}}" for family in FAMILIES), "/v6/images/fetch/{id}", "/v6/images/fetch")
CANCEL = tuple(f"{family}/cancel/{{id}}" for family in FAMILIES)
UPLOADS = {"/v6/base64_to_url": "base64_string", "/v6/image_editing/base64_to_url": "init_image"}
FILES = "/facegen/files/"
SETTINGS = "/facegen/settings"
IN_USE = "/facegen/local_api"
POSTED = (*SUBMIT, *FETCH, *CANCEL, *UPLOADS)
ROUTES = (
    *(("POST", path) for path in (*POSTED, SETTINGS)),
    ("GET", f"{FILES}{{name}}"),
    ("GET", SETTINGS),
    ("GET", IN_USE),
)
ASKED_IN_VAIN = tuple(("GET", path) for path in POSTED)  # as by a browser, which has to be told what to do

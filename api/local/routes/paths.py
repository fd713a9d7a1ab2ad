"""The paths of the local Face Generator API. Each is served under PREFIX, too, and so the answers give them."""

from ....contract import ENDPOINTS, ENTERPRISE, FLUX_HEADSHOT, MAKE_GEN, ROOMS

PREFIX = "/api"

# Path -> the endpoint that it is. The official Python SDK calls one by a path that the documentation doesn't have.
SUBMIT = {
    **ENDPOINTS,
    f"{ROOMS[ENTERPRISE]}/{FLUX_HEADSHOT}": ENDPOINTS[f"{ROOMS[MAKE_GEN].format(name=FLUX_HEADSHOT)}/{MAKE_GEN}"],
}
ROOM_PATHS = tuple(dict.fromkeys(endpoint.room for endpoint in ENDPOINTS.values()))
FETCH = (*(f"{room}/fetch/{{id}}" for room in ROOM_PATHS), "/v6/images/fetch/{id}", "/v6/images/fetch")
CANCEL = tuple(f"{room}/cancel/{{id}}" for room in ROOM_PATHS)
UPLOADS = {"/v6/base64_to_url": "base64_string", "/v6/image_editing/base64_to_url": "init_image"}
COUNT = "/v6/processing/request_count"
OWN_SERVERS = tuple(dict.fromkeys(endpoint.room for endpoint in ENDPOINTS.values() if endpoint.family == MAKE_GEN))
DETAILS = tuple(f"{room}/system_details" for room in OWN_SERVERS)
CLEAR = tuple(f"{room}/clear_queue" for room in OWN_SERVERS)
FILES = "/facegen/files/"
SETTINGS = "/facegen/settings"
IN_USE = "/facegen/local_api"
POSTED = (*SUBMIT, *FETCH, *CANCEL, *UPLOADS, *DETAILS, *CLEAR)
ROUTES = (
    *(("POST", path) for path in (*POSTED, COUNT, SETTINGS)),
    ("GET", COUNT),  # the documentation has both
    ("GET", f"{FILES}{{name}}"),
    ("GET", SETTINGS),
    ("GET", IN_USE),
)
ASKED_IN_VAIN = tuple(("GET", path) for path in POSTED)  # as by a browser, which has to be told what to do

"""The local API of the running ComfyUI, and a face for it."""

import base64
import http.server
import io
import threading

import pytest
from PIL import Image

from local_api_calls import configure, switch


@pytest.fixture(scope="module")
def photo():
    from skimage import data

    file = io.BytesIO()
    Image.fromarray(data.astronaut()).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture(scope="module")
def face(photo):
    return f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"


@pytest.fixture(scope="module")
def face_url(photo):
    """The photo under a URL without an extension."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(photo)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        threading.Thread(target=site.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}/generations/2f1c9a70"
        site.shutdown()


@pytest.fixture(scope="module")
def api(server):
    """The running server's /api, with the local API turned on."""
    assert not server.get("/facegen/settings")["local_api"]["enabled"]
    configure(server.base)
    assert switch(server, True)["enabled"]
    yield f"http://127.0.0.1:{server.port}/api"
    switch(server, False)

"""Takes webhooks."""

import http.server
import json
import threading


class Receiver(http.server.ThreadingHTTPServer):
    """Takes webhooks, and answers with `status`."""

    daemon_threads = True

    def __init__(self):
        self.calls, self.status = [], 200
        super().__init__(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/done"

    def _handler(receiver):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.calls.append(body)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *args):
                pass

        return Handler

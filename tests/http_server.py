"""An HTTP server on this machine, in a thread, for tests of what downloads and of what asks an endpoint."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reply:
    """What is sent (a HEAD is answered without the body); `length`: the Content-Length announced (None: none), true or not."""

    status: int
    body: bytes = b""
    length: int | None = None
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


class LocalServer:
    """Answers GET, HEAD and POST by a function (path without the first slash, body of the request) → Reply.

    `url` ends with a slash; `asked`: paths in the order they came. `stop` may be called twice; leaving `with` does it.
    """

    def __init__(self, answer: Callable[[str, bytes], Reply]) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.removeprefix("/")
                outer.asked.append(path)
                reply = answer(path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.length is not None:
                    self.send_header("Content-Length", str(reply.length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_HEAD = do_POST = do_GET

            def log_message(self, format, *args):
                pass

        class Listening(http.server.ThreadingHTTPServer):
            request_queue_size = 64

        self._server = Listening(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """From now on a connection is refused."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *raised) -> None:
        self.stop()

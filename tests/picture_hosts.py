"""A real HTTP server of pictures on loopback, whose paths say how it behaves."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class PictureHost:
    """What it serves by path, what it was asked for, and whom it redirects to."""

    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    failures: dict[str, list[int]] = field(default_factory=dict)  # statuses of the next responses
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def picture_host() -> Iterator[PictureHost]:
    """`/slow` sends a byte a tenth of a second, `/endless` never ends, `/packed` is compressed."""
    host = PictureHost(0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append(self.path)
            host.hosts.append(self.headers["Host"])
            if host.failures.get(self.path):
                self._answer(host.failures[self.path].pop(0), b"")
            elif self.path in host.redirects:
                self._answer(302, b"", Location=host.redirects[self.path])
            elif self.path in ("/slow", "/endless"):
                self._stream(0.1 if self.path == "/slow" else 0.0, b"x" * (1 if self.path == "/slow" else 65_536))
            elif self.path == "/packed":
                self._answer(200, b"x", **{"Content-Encoding": "gzip"})
            elif self.path in host.files:
                self._answer(200, host.files[self.path])
            else:
                self._answer(404, b"")

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, wait_s: float, chunk: bytes) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(1_000_000):
                    self.wfile.write(chunk)
                    time.sleep(wait_s)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            """Not on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    host.port = server.server_port
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()

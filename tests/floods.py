"""A server whose answers do not end: it sends hundreds of megabytes, or a byte now and then."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

N_BYTES = 300_000_000
CHUNK = b"x" * 65_536


@dataclass
class Flood:
    """Answers every request with this status and headers, and counts the bytes of bodies that callers took."""

    status: int
    pause_s: float  # between single bytes; 0: as fast as they are taken
    headers: str
    url: str = ""
    sent: int = 0
    requests: list[bytes] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def answer(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            self.requests.append(connection.recv(65_536))
            head = f"HTTP/1.1 {self.status} Flood\r\nContent-Length: {N_BYTES}\r\n{self.headers}\r\n"
            connection.sendall(head.encode())
            while self.sent < N_BYTES and not self.ended.wait(self.pause_s):
                self.sent += connection.send(CHUNK[:1] if self.pause_s else CHUNK)


@contextmanager
def flooding(status: int = 200, *, pause_s: float = 0.0, headers: str = "") -> Iterator[Flood]:
    """Such a server while the context is open."""
    flood = Flood(status, pause_s, headers)
    with socket.create_server(("127.0.0.1", 0)) as server:
        flood.url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            with suppress(OSError):
                while not flood.ended.is_set():
                    threading.Thread(target=flood.answer, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield flood
        finally:
            flood.ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()

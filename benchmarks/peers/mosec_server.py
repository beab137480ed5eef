"""mosec: an HTTP server in Rust, and one Python worker behind it."""

import sys
from typing import Any

import orjson
from mosec import Server, Worker

from benchmarks.peers.flat_index import load_index, port


class Recommend(Worker):
    """Takes `{"user_id": ..., "k": ...}`."""

    def __init__(self) -> None:
        super().__init__()
        self.load_index = load_index()

    def deserialize(self, data: bytes) -> Any:
        """JSON, read quickly."""
        return orjson.loads(data)

    def serialize(self, data: Any) -> bytes:
        """JSON, written quickly."""
        return orjson.dumps(data)

    def forward(self, data: Any) -> Any:
        """One request."""
        return self.load_index.recommend(data["user_id"], data["k"])


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(port())]  # mosec reads them itself
    server = Server()
    server.append_worker(Recommend, num=1)
    server.run()

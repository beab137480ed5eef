"""mosec: an HTTP server in Rust and one Python worker."""

import sys
from typing import Any

import orjson
from mosec import Server, Worker

from benchmarks.peers.flat_index import load_index, port


class MosecRecommender(Worker):
    """Accepts `{"user_id": ..., "k": ...}`."""

    def __init__(self) -> None:
        super().__init__()
        self.index = load_index()

    def deserialize(self, data: bytes) -> Any:
        """Parse JSON with orjson."""
        return orjson.loads(data)

    def serialize(self, data: Any) -> bytes:
        """Write JSON with orjson."""
        return orjson.dumps(data)

    def forward(self, data: Any) -> Any:
        """Return recommendations for one request."""
        return self.index.recommend(data["user_id"], data["k"])


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(port())]  # mosec parses the arguments itself
    server = Server()
    server.append_worker(MosecRecommender, num=1)
    server.run()

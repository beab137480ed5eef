"""LitServe: an API server and one worker for the model."""

from typing import Any

import litserve as ls
import orjson
from fastapi import Response

from benchmarks.peers.flat_index import load_index, port


class LitRecommender(ls.LitAPI):
    """Accepts `{"user_id": ..., "k": ...}`."""

    def setup(self, device: str) -> None:
        """Load the index in the worker."""
        self.index = load_index()

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the request unchanged."""
        return request

    def predict(self, x: dict[str, Any]) -> bytes:
        """Return recommendations as JSON."""
        return orjson.dumps(self.index.recommend(x["user_id"], x["k"]))

    def encode_response(self, output: bytes) -> Response:
        """Return the bytes without further encoding."""
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    server = ls.LitServer(LitRecommender(), accelerator="cpu", devices=1, workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=port(),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )

"""BentoML: `bentoml serve benchmarks.peers.bentoml_server:BentoRecommender`, one worker."""

from typing import Annotated

import bentoml
import orjson

from benchmarks.peers.flat_index import load_index

JSON = bentoml.validators.ContentType("application/json")


@bentoml.service(workers=1, threads=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class BentoRecommender:
    """Accepts `{"user_id": ..., "k": ...}`."""

    def __init__(self) -> None:
        self.index = load_index()

    @bentoml.api
    async def recommend(self, user_id: str, k: int) -> Annotated[str, JSON]:
        """Return recommendations as JSON. A search is faster than a change of threads, so it runs in the event loop."""
        return orjson.dumps(self.index.recommend(user_id, k)).decode()

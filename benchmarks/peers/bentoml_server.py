"""BentoML: `bentoml serve benchmarks.peers.bentoml_server:Recommend`, one worker."""

from typing import Annotated

import bentoml
import orjson

from benchmarks.peers.flat_index import load_index

JSON = bentoml.validators.ContentType("application/json")


@bentoml.service(workers=1, threads=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Recommend:
    """Takes `{"user_id": ..., "k": ...}`."""

    def __init__(self) -> None:
        self.load_index = load_index()

    @bentoml.api
    async def recommend(self, user_id: str, k: int) -> Annotated[str, JSON]:
        """The answer as JSON. A search takes less time than a thread's turn, so it is made in the loop."""
        return orjson.dumps(self.load_index.recommend(user_id, k)).decode()

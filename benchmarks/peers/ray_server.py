"""Ray Serve: a proxy and one replica."""

import orjson
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.flat_index import load_index, port


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 1})
class RayRecommender:
    """Accepts `{"user_id": ..., "k": ...}`."""

    def __init__(self) -> None:
        self.index = load_index()

    async def __call__(self, request: Request) -> Response:
        """Return recommendations for one request."""
        body = orjson.loads(await request.body())
        content = self.index.recommend(body["user_id"], body["k"])
        return Response(orjson.dumps(content), media_type="application/json")


if __name__ == "__main__":
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port()})
    serve.run(RayRecommender.bind(), route_prefix="/", blocking=True)  # type: ignore[attr-defined]  # Ray's decorator adds it

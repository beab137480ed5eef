"""Where a user's vector and seen items come from: Redis, then the bundle's memory-mapped row."""

from typing import Any

import numpy as np

from index.bundle import Bundle
from service.metrics import Metrics
from service.profile import Profile, trained
from service.vector_cache import VectorCache
from service.vector_keys import user_key

Array = np.ndarray[Any, Any]


class Users:
    """Users by their outside id. Vectors are kept per bundle: one of bundle A never meets the index of bundle B."""

    def __init__(self, bundle: Bundle, cache: VectorCache | None, namespace: str, metrics: Metrics) -> None:
        self._bundle = bundle
        self._cache = cache
        self._namespace = namespace
        self._from_redis = metrics.vectors.labels("redis")
        self._from_bundle = metrics.vectors.labels("bundle")

    async def find(self, user_id: str) -> Profile | None:
        """The user's profile, or None where nothing is known of the id."""
        row = self._bundle.user_ids.row(user_id)
        if row is None:
            return None
        vector = await self._vector(user_id, self._bundle.user_embeddings[row])
        return trained(self._bundle, row, vector)

    async def _vector(self, user_id: str, own: Array) -> Array:
        cached = False
        if self._cache is not None:
            key = user_key(self._namespace, self._bundle.bundle_id, user_id)
            own, cached = await self._cache.get(key, own)
        (self._from_redis if cached else self._from_bundle).inc()
        return own

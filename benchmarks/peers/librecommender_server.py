"""LibRecommender's own server (`libserving.sanic_serving.embed_deploy`, Sanic) over Redis and FAISS.

It loads the index from its own files, so its function for the path is replaced. It returns ids only. Its variable
REDIS_HOST contains host, port and database.
"""

import os
import tempfile
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import orjson
import redis
from libserving.sanic_serving import embed_deploy

from benchmarks.peers.flat_index import BUNDLE, port

BATCH = 10_000  # users per write


def write_redis(bundle: Path, url: str) -> None:
    """Write the same hashes as `libserving.serialization.embed2redis`."""
    users = np.load(bundle / "user_embeddings.npy")
    offsets, seen = np.load(bundle / "seen" / "user_offsets.npy"), np.load(bundle / "seen" / "user_items.npy")
    n_items = len(np.load(bundle / "item_embeddings.npy", mmap_mode="r"))
    with redis.Redis.from_url(url) as client:
        client.hset("id2item", mapping={str(row): f"item-{row}" for row in range(n_items)})
        for start in range(0, len(users), BATCH):
            rows = range(start, min(start + BATCH, len(users)))
            seen_items = {row: seen[offsets[row] : offsets[row + 1]].tolist() for row in rows}
            client.hset("user2id", mapping={f"user-{row}": str(row) for row in rows})
            client.hset("user_consumed", mapping={str(row): orjson.dumps(seen_items[row]) for row in rows})
            client.hset("user_embed", mapping={str(row): orjson.dumps(users[row].tolist()) for row in rows})


def write_index(bundle: Path, folder: Path) -> str:
    """Write a flat index over the items and return its path."""
    items = np.load(bundle / "item_embeddings.npy")
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    faiss.write_index(index, str(folder / "faiss_index.bin"))
    return str(folder / "faiss_index.bin")


if __name__ == "__main__":
    faiss.omp_set_num_threads(1)
    bundle = Path(os.environ[BUNDLE])
    write_redis(bundle, f"redis://{os.environ['REDIS_HOST']}")
    embed_deploy.find_index_path = partial(write_index, bundle, Path(tempfile.mkdtemp()))
    embed_deploy.app.run(host="127.0.0.1", port=port(), single_process=True, access_log=False)

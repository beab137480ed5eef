"""Cornac's own server (`cornac.serving.app`, Flask) under gunicorn, with a model made from the bundle's vectors.

Cornac scores every item itself and returns ids only.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from cornac.data import Dataset
from cornac.models import BPR

from benchmarks.peers.flat_index import BUNDLE, port

GUNICORN = ("gunicorn", "--worker-class", "gthread", "--workers", "1", "--threads", "1", "--keep-alive", "75")
NO_WATCHDOG = ("--timeout", "0")  # it would kill a worker that is suspended while others are measured


def save_model(bundle: Path, folder: Path) -> Path:
    """Save an untrained matrix factorisation with the bundle's vectors, and return its folder."""
    users, items = np.load(bundle / "user_embeddings.npy"), np.load(bundle / "item_embeddings.npy")
    offsets, seen = np.load(bundle / "seen" / "user_offsets.npy"), np.load(bundle / "seen" / "user_items.npy")
    user_rows = np.repeat(np.arange(len(users)), np.diff(offsets))  # (n_interactions,)
    train_set = Dataset(
        num_users=len(users),
        num_items=len(items),
        uid_map={f"user-{row}": row for row in range(len(users))},
        iid_map={f"item-{row}": row for row in range(len(items))},
        uir_tuple=(user_rows, seen.astype(np.int64), np.ones(len(seen))),
    )
    vectors = {"U": users, "V": items, "Bi": np.zeros(len(items), np.float32)}
    model = BPR(k=users.shape[1], trainable=False, init_params=vectors)
    model.fit(train_set)
    return Path(model.save(str(folder), save_trainset=True))


if __name__ == "__main__":
    os.environ["MODEL_PATH"] = str(save_model(Path(os.environ[BUNDLE]), Path(tempfile.mkdtemp())))
    os.environ["MODEL_CLASS"] = "cornac.models.BPR"
    program = str(Path(sys.executable).with_name(GUNICORN[0]))
    os.execv(program, [*GUNICORN, *NO_WATCHDOG, "--bind", f"127.0.0.1:{port()}", "cornac.serving.app:app"])

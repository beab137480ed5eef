"""What `python -m trainer retrain` is to the service, without the seconds that torch takes: a program of its own that
reads the log, says lines, and writes a bundle or not. `python stand_in_trainer.py HOW retrain DATA --events ...`"""

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

GOOD, WORSE, FAILS, WAITS = "good", "worse", "fails", "waits"
PATIENCE_S = 120.0  # a test that failed must not leave it waiting for ever
GO = "go"  # the file in the folder of all jobs that lets a waiting one go on


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("how")
    parser.add_argument("command")
    parser.add_argument("data")
    for name in ("events", "registry", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    asked, more = parser.parse_known_args()
    print(f"begun with {more}", file=sys.stderr, flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.how == FAILS:
        print("error: the loss is nan in epoch 3", file=sys.stderr)
        return 2
    if asked.how == WAITS:
        from index.storage import replace_file

        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        replace_file(asked.out / "worker", str(worker.pid).encode())  # never seen half-written
        until = time.monotonic() + PATIENCE_S
        while not (asked.out.parent.parent / GO).exists() and time.monotonic() < until:
            time.sleep(0.02)
        worker.kill()
    return train(asked)


def train(asked: argparse.Namespace) -> int:
    """Write the bundle; what is imported for it is not needed to fail or to wait."""
    import pyarrow.parquet as pq
    from bundles import make_content

    from index.bundle import write_bundle

    positions = pq.read_table(asked.events, columns=["position"])["position"].to_pylist()
    recall = 0.01 if asked.how == WORSE else 0.3
    content = make_content(
        metrics={"valid": {"recall@20": recall, "ndcg@20": recall}},
        events_position=max(positions, default=0),
    )
    path = write_bundle(asked.registry, content, created_at=datetime.now(UTC))
    (asked.out / "result.json").write_text(json.dumps({"bundle": path.name}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

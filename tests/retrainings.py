"""A service with a trainer to call, for the tests of the retraining hook."""

import shlex
import sys
from pathlib import Path
from typing import Any

import httpx
import stand_in_trainer
from servers import wait_until

ENDED = {"published", "refused", "failed", "cancelled"}
PATIENCE_S = 60.0


def retraining(how: str, registry: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a service whose trainings go as `how` says."""
    tests = Path(__file__).parent
    command = [
        "env", f"PYTHONPATH={tests}:{tests.parent}", sys.executable, str(tests / "stand_in_trainer.py"), how
    ]  # fmt: skip
    return {
        "registry": registry,
        "data": registry.parent / "kept",
        "retrain_data": registry.parent / "dataset",
        "retrain_command": shlex.join(command),
        "retrain_poll_s": 0.05,
        "retrain_lease_s": 1.0,
        "bundle_poll_s": 0.1,
        **changes,
    }


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job when it has ended, with its log beside it."""
    wait_until(lambda: state(client, job_id) in ENDED, PATIENCE_S)
    answer: dict[str, Any] = client.get(f"/retrain/{job_id}").json()
    return answer["job"] | {"log": answer["log"]}


def state(client: httpx.Client, job_id: str) -> str:
    return str(client.get(f"/retrain/{job_id}").json()["job"]["state"])


def started(client: httpx.Client, **options: str) -> str:
    """Ask for a job; its id."""
    answer = client.post("/retrain", params=options)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job"]["id"])


def in_training(registry: Path, job_id: str) -> Path:
    """Wait until the stand-in is at work; its folder."""
    out = registry.parent / "kept" / "retrain" / job_id / "out"
    wait_until((out / "worker").exists, PATIENCE_S)
    return out


def let_go(registry: Path) -> None:
    """Let the stand-in that waits go on."""
    (registry.parent / "kept" / "retrain" / stand_in_trainer.GO).touch()

"""Files of a bundle that change under the service, or were wrong before it started."""

import gc
import json
import os
import signal
import weakref
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
from processes import process, run
from servers import counted, serving, wait_until

from deploy.processes import free_port
from index.errors import InputError
from index.records import PointerMove
from service.bundles.loaded import load_bundle
from service.bundles.open_published import open_published
from service.settings import Settings
from service.telemetry.metrics import Metrics


def damage(bundle: Path, name: str = "user_own.npy") -> None:
    """One bit of one file, its size and shape as before."""
    data = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def files(client: httpx.Client) -> str:
    return str(client.get("/readyz").json()["files"])


def test_sums_are_checked_behind_the_start(two):
    with serving(registry=two.folder, verify_bundle="background") as client:
        wait_until(lambda: files(client) == "verified")
    with serving(registry=two.folder, verify_bundle="off") as client:
        assert files(client) == "not verified"


@pytest.mark.parametrize("when", ["start", "background"])
def test_a_process_that_starts_onto_a_damaged_bundle_serves_the_one_before_and_says_so(two, tmp_path, when):
    two.registry.publish(two.second.name)
    damage(two.second)
    log = tmp_path / "log"
    with process(two.folder, log, verify_bundle=when, admin_open=True) as (_, client):
        wait_until(lambda: client.get("/readyz").json()["bundle"] == two.first.name)
        told = client.get("/bundles").json()
        assert (told["published"], told["trouble"]["bundle"]) == (two.second.name, two.second.name)
        assert "user_own.npy has sha256" in told["trouble"]["error"]
        assert counted(client, "reco_bundle_behind") == 1
        assert client.get("/recommend/user-3").status_code == 200
    errors = [json.loads(line) for line in log.read_text().splitlines() if '"error"' in line]
    assert any("user_own.npy has sha256" in json.dumps(one) for one in errors)


def test_without_leave_to_fall_back_a_damaged_bundle_stops_the_start_or_is_told(two):
    two.registry.publish(two.second.name)
    damage(two.second)
    alone = {"registry": two.folder, "bundle_fallback": False}
    done = run("run", port=free_port(), verify_bundle="start", **alone)
    assert done.returncode == 2
    assert "user_own.npy has sha256" in done.stderr.splitlines()[-1]
    with serving(verify_bundle="background", **alone) as client:
        wait_until(lambda: files(client).startswith("damaged: "))
        assert client.get("/readyz").json()["bundle"] == two.second.name
        assert counted(client, "reco_bundle_damaged") == 1


def test_what_was_withdrawn_is_no_bundle_to_fall_back_to(two):
    two.registry.publish(two.second.name)
    two.registry.withdraw(two.second.name, PointerMove(at=datetime.now(UTC), by="me", why="bad"))
    damage(two.first)
    with pytest.raises(InputError, match=r"user_own\.npy has sha256"):
        open_published(Settings(registry=two.folder, verify_bundle="start"))


@pytest.mark.parametrize(
    ("held", "hurt", "told"),
    [
        ("mapped", lambda file: damage(file.parent, file.name), "damaged: user_own.npy was written to"),
        ("mapped", lambda file: file.unlink(), "damaged: user_own.npy is gone"),
        ("memory", lambda file: os.truncate(file, 0), "damaged: user_own.npy has 0 bytes"),
    ],
)
def test_a_file_that_changes_while_it_serves_is_told_and_requests_are_answered(two, held, hurt, told):
    with serving(registry=two.folder, bundle_check_s=0.05, bundle_poll_s=0.1, bundle_files=held) as client:
        wait_until(lambda: files(client) == "verified")
        hurt(two.first / "user_own.npy")
        wait_until(lambda: files(client).startswith(told))
        assert counted(client, "reco_bundle_damaged") == 1
        assert client.get("/bundles").json()["damage"][0].startswith(told.removeprefix("damaged: "))
        answer = client.get("/recommend/user-3?explain=true")
        assert answer.status_code == 200
        two.registry.publish(two.second.name)
        wait_until(lambda: files(client) == "verified")
        assert counted(client, "reco_bundle_damaged") == 0


def test_in_memory_every_file_may_be_cut_short_and_every_answer_is_as_before(two):
    asked = ["/recommend/user-3?explain=true&k=40", "/similar/item-3?by=text&explain=true", "/items/item-3", "/popular"]
    with serving(registry=two.folder, bundle_files="memory", answer_cache_mb=0) as client:
        wait_until(lambda: files(client) == "verified")
        before = [client.get(path).json() for path in asked]
        for file in two.first.rglob("*.*"):
            os.truncate(file, 0)
        after = [client.get(path).json() for path in asked]
    assert [one | {"request_id": ""} for one in after] == [one | {"request_id": ""} for one in before]


def test_a_mapped_file_cut_short_may_end_the_process_which_says_where_and_starts_onto_the_bundle_before(two, tmp_path):
    two.registry.publish(two.second.name)
    log = tmp_path / "log"
    with process(two.folder, log, answer_cache_mb=0) as (running, client):
        wait_until(lambda: files(client) == "verified")
        os.truncate(two.second / "fold_in.npy", 0)
        with pytest.raises(httpx.TransportError):
            client.get("/recommend/user-3?explain=true")
        assert running.wait(60) == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in log.read_text()
    with process(two.folder, log) as (_, client):
        assert client.get("/recommend/user-3?explain=true").json()["bundle"] == two.first.name


def test_sums_are_checked_again_at_intervals(two):
    with serving(registry=two.folder, bundle_check_s=0.05, bundle_sums_hours=1e-6) as client:
        wait_until(lambda: files(client) == "verified")
        file = two.first / "user_own.npy"
        times = file.stat()
        damage(two.first)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a failing disk would have it
        wait_until(lambda: "user_own.npy has sha256" in files(client))


def test_what_served_goes_when_its_last_reference_does_without_any_garbage_collection(two):
    metrics, settings = Metrics(), Settings(registry=two.folder, gpu="off")
    opened = open_published(settings)
    gc.disable()
    try:
        serving_one = load_bundle(opened.bundle, None, settings, metrics)  # type: ignore[arg-type]
        serving_one.items.ranked([1, 2], np.array([0.5, 0.4]))
        gone = [
            weakref.ref(part) for part in (serving_one, opened.bundle, serving_one.items, serving_one.similar_items)
        ]
        assert metrics.bundles_open._value.get() == 1
        del serving_one, opened
        wait_until(lambda: not any(ref() for ref in gone))
        assert metrics.bundles_open._value.get() == 0
    finally:
        gc.enable()

"""Several processes over one registry: they agree, whatever becomes of one of them."""

import subprocess
import sys
import time
from contextlib import ExitStack

import httpx
import pytest
from processes import process
from servers import counted, wait_until

from index.bundle import open_bundle
from service.settings import Settings


def serving_ids(replicas: list[httpx.Client]) -> set[str]:
    return {client.get("/recommend/user-3").json()["bundle"] for client in replicas}


@pytest.fixture
def replicas(two, tmp_path):
    with ExitStack() as stack:
        started = [
            process(two.folder, tmp_path / f"log-{n}", data=tmp_path / f"data-{n}", bundle_poll_s=0.1) for n in range(3)
        ]
        yield [stack.enter_context(one)[1] for one in started]


def test_three_replicas_follow_the_command_line_by_polling_the_registry(two, replicas):
    command = [sys.executable, "-m", "index", "publish", two.second]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    wait_until(lambda: serving_ids(replicas) == {two.second.name})
    assert replicas[0].post("/bundles/rollback", timeout=30).status_code == 403, "an operator must allow it"
    two.registry.rollback()
    wait_until(lambda: serving_ids(replicas) == {two.first.name})
    assert Settings(registry=two.folder).bundle_poll_s <= 2


def test_with_a_redis_replicas_hear_of_a_publish_at_once(two, valkey, tmp_path):
    told = {"redis_url": valkey.url, "admin_open": True, "bundle_poll_s": 3_600}
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(process(two.folder, tmp_path / f"log-{n}", data=tmp_path / f"data-{n}", **told))[1]
            for n in range(3)
        ]
        wait_until(lambda: valkey.client().pubsub_numsub("reco:news")[0][1] == 3)
        for bundle in (two.second, two.first):
            assert replicas[0].post(f"/bundles/{bundle.name}/publish", timeout=60).json()["bundle"] == bundle.name
            wait_until(lambda wanted=bundle: serving_ids(replicas) == {wanted.name})


def test_killed_in_the_middle_of_swaps_a_process_starts_onto_a_whole_bundle(two, tmp_path):
    """Killed at any moment of 3 swaps: no half bundle, no lock that stays, no change of the registry."""
    for kill_after_s in (0.0, 0.03, 0.08):
        with process(two.folder, tmp_path / "log", bundle_poll_s=0.01) as (running, client):
            for n in range(50):
                client.get(f"/recommend/user-{n % 30}")
            wanted = two.second if two.registry.current_id() == two.first.name else two.first
            two.registry.publish(wanted.name)
            time.sleep(kill_after_s)
            running.kill()
            running.wait()
        assert two.registry.current_id() == wanted.name
    with process(two.folder, tmp_path / "log") as (_, client):
        wait_until(lambda: client.get("/readyz").json()["files"] == "verified")
        assert serving_ids([client]) == {wanted.name}
        assert counted(client, "reco_bundle_behind") == 0
    for bundle in two.opened():
        open_bundle(bundle.path)


def test_killed_while_it_publishes_it_leaves_the_pointer_where_it_was_or_where_it_should_be(two, tmp_path):
    with process(two.folder, tmp_path / "log", admin_open=True) as (running, client):
        sent = subprocess.Popen(
            [sys.executable, "-c", f"import httpx; httpx.post('{client.base_url}/bundles/{two.second.name}/publish')"],
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: counted(client, "reco_requests_in_flight") > 1)
        running.kill()
        running.wait()
        sent.wait(30)
    assert two.registry.current_id() in (two.first.name, two.second.name)
    two.registry.publish(two.second.name)  # no lock stayed behind
    assert two.registry.current_id() == two.second.name

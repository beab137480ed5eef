"""Publish and rollback by call, over a socket."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from bundles import edited, write_small_bundle
from servers import counted, serving, wait_until

LOW = {"valid": {"recall@20": 0.01, "ndcg@20": 0.1}}


def published(client: httpx.Client, bundle: Path, **query: object) -> httpx.Response:
    return client.post(f"/bundles/{bundle.name}/publish", params=query, timeout=60)


def info(client: httpx.Client, bundle: Path) -> dict:
    return next(one for one in client.get("/bundles").json()["bundles"] if one["bundle_id"] == bundle.name)


def test_a_bundle_is_published_past_the_gate_serves_at_once_and_is_rolled_back(two):
    with serving(registry=two.folder) as client:
        before = client.get("/recommend/user-3").json()
        told = published(client, two.second)
        assert told.status_code == 200
        answer = told.json()
        assert (answer["published"], answer["bundle"]) == (two.second.name, two.second.name)
        assert (answer["swapped"], answer["forced"], answer["gate"]["passed"]) == (True, False, True)
        after = client.get("/recommend/user-3").json()
        assert after["bundle"] == two.second.name
        assert after["items"] != before["items"]
        assert client.get("/readyz").json()["bundle"] == two.second.name
        assert f'bundle_id="{two.second.name}"' in client.get("/metrics").text

        back = client.post("/bundles/rollback").json()
        assert (back["published"], back["bundle"], back["swapped"]) == (two.first.name, two.first.name, True)
        assert client.get("/recommend/user-3").json()["items"] == before["items"]
        refused = client.post("/bundles/rollback")
        assert (refused.status_code, refused.json()["error"]) == (409, "rollback_refused")
        assert "no earlier bundle" in refused.json()["detail"]
        assert counted(client, 'reco_bundle_swaps_total{outcome="done"}') == 2


def test_what_serves_is_published_already_and_a_rollback_of_one_bundle_is_done_once(two):
    with serving(registry=two.folder) as client:
        for _ in range(2):
            answer = published(client, two.second).json()
            assert answer["published"] == two.second.name
        assert answer["swapped"] is False
        assert two.registry.history() == [two.first.name]
        for swapped in (True, False):
            back = client.post("/bundles/rollback", params={"leaving": two.second.name}).json()
            assert (back["published"], back["swapped"]) == (two.first.name, swapped)


def test_a_bundle_that_the_gate_refuses_changes_nothing_until_it_is_forced(two):
    worse = write_small_bundle(two.folder, after_seconds=5, metrics=LOW)
    with serving(registry=two.folder) as client:
        refused = published(client, worse)
        assert refused.status_code == 409
        told = refused.json()
        assert told["error"] == "gate_refused"
        assert "valid recall@20: 0.0100 (required: at least 0.1900" in told["detail"]
        assert [check["name"] for check in told["gate"]["checks"] if not check["passed"]] == ["valid recall@20"]
        assert two.registry.current_id() == two.first.name
        assert client.get("/readyz").json()["bundle"] == two.first.name
        assert info(client, worse)["gate"]["passed"] is False
        assert info(client, worse)["published"] is None

        forced = published(client, worse, force=True).json()
        assert (forced["forced"], forced["bundle"]) == (True, worse.name)
        known = info(client, worse)
        assert known["published"]["why"] == "forced, though valid recall@20 failed"
        assert known["published"]["by"] == "anybody"
        assert counted(client, 'reco_bundle_gates_total{outcome="refused"}') == 1
        assert counted(client, 'reco_bundle_gates_total{outcome="forced"}') == 1


def test_limits_of_the_gate_are_settings(two):
    worse = write_small_bundle(two.folder, after_seconds=5, metrics=LOW)
    with serving(registry=two.folder, gate={"metrics": ["ndcg@20"], "sample_users": 7}) as client:
        answer = published(client, worse)
        assert answer.status_code == 200
        checks = {check["name"]: check for check in answer.json()["gate"]["checks"]}
        assert "valid recall@20" not in checks
        assert checks["search p99"]["found"].endswith("over 7 users")


def test_bundles_are_listed_with_all_that_is_known_of_them(two):
    broken = write_small_bundle(two.folder, after_seconds=5, seed=5)
    (broken / "manifest.json").write_text("{")
    with serving(registry=two.folder) as client:
        published(client, two.second)
        told = client.get("/bundles").json()
        assert (told["bundle"], told["published"], told["history"]) == (
            two.second.name, two.second.name, [two.first.name],
        )  # fmt: skip
        assert (told["verified"], told["damage"], told["trouble"]) == (True, [], None)
        assert {one["bundle_id"]: one["role"] for one in told["bundles"]} == {
            broken.name: "", two.second.name: "serves", two.first.name: "rollback",
        }  # fmt: skip
        assert "no JSON" in info(client, broken)["unreadable"]
        known = info(client, two.second)
        assert (known["n_users"], known["n_items"], known["model"]) == (30, 40, "anchorrec")
        assert known["metrics"]["valid"]["recall@20"] == 0.2
        assert known["bytes"] > 10_000
        assert known["gate"]["passed"] is True
        assert known["unreadable"] is None


def test_what_is_no_bundle_is_a_404_and_publishing_is_for_admins(two):
    with serving(registry=two.folder) as client:
        for name in ("20260101T120000Z-anchorrec-00000000", "..%2F..", "nonsense"):
            refused = client.post(f"/bundles/{name}/publish")
            assert (refused.status_code, refused.json()["error"]) == (404, "unknown_bundle")
        assert client.get("/bundles/rollback").status_code == 405
    with serving(registry=two.folder, admin_open=False) as client:
        assert published(client, two.second).status_code == 403
        assert client.post("/bundles/rollback").status_code == 403
        assert client.get("/bundles").status_code == 403


def test_two_who_publish_the_same_bundle_share_one_gate_and_another_one_is_told_to_wait(two):
    third = write_small_bundle(two.folder, after_seconds=5, seed=5)
    with serving(registry=two.folder) as client, ThreadPoolExecutor(3) as pool:
        first, second = (pool.submit(published, client, two.second) for _ in range(2))
        wait_until(lambda: counted(client, "reco_requests_in_flight") >= 3)
        busy = published(client, third)
        assert (busy.status_code, busy.json()["error"]) == (409, "publishing")
        assert f"publish {two.second.name} is under way" in busy.json()["detail"]
        assert {first.result().status_code, second.result().status_code} == {200}
        assert counted(client, 'reco_bundle_gates_total{outcome="passed"}') == 1


def test_a_bundle_that_cannot_serve_here_is_not_published_even_by_force(two):
    (two.second / "fold_in.npy").write_bytes(b"broken")
    with serving(registry=two.folder) as client:
        refused = published(client, two.second, force=True)
        assert (refused.status_code, refused.json()["error"]) == (409, "swap_failed")
        assert "fold_in.npy" in refused.json()["detail"]
        assert two.registry.current_id() == two.first.name
        trouble = client.get("/bundles").json()["trouble"]
        assert trouble["bundle"] == two.second.name
        assert "fold_in.npy" in trouble["error"]


def test_a_bundle_that_fails_requests_asked_of_late_is_not_published(two):
    mute = edited(two.second, "items/bytes.npy", lambda text: text.fill(ord("x")))
    with serving(registry=two.folder) as client:
        client.get("/recommend/user-3")
        refused = published(client, mute)
        assert (refused.status_code, refused.json()["error"]) == (409, "swap_failed")
        assert "of 1 recent requests some fail: JSONDecodeError" in refused.json()["detail"]
        assert client.get("/recommend/user-3").status_code == 200


def test_the_gate_makes_lists_for_users_asked_of_late_first(two):
    """User 17 alone is shown other things: a sample of one finds that out only if it is the one who asked."""
    likewise = write_small_bundle(two.folder, after_seconds=5)

    def turned(vectors: np.ndarray) -> None:
        vectors[17] = -vectors[17]

    law = {"law_tolerance": 10.0, "sample_users": 1, "list_length": 3}
    other = edited(likewise, "user_embeddings.npy", turned)
    with serving(registry=two.folder, gate=law) as client:
        client.get("/recommend/user-17")
        refused = published(client, other).json()
        assert [check["name"] for check in refused["gate"]["checks"] if not check["passed"]] == ["overlap of lists"]
    with serving(registry=two.folder, gate=law) as client:
        client.get("/recommend/user-3")
        assert published(client, other).status_code == 200


def test_a_publish_by_the_command_line_is_followed_and_a_failing_one_is_told(two):
    with serving(registry=two.folder, bundle_poll_s=0.05) as client:
        two.registry.publish(two.second.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == two.second.name)
        third = write_small_bundle(two.folder, after_seconds=5, seed=5)
        two.registry.publish(third.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == third.name)

        fourth = write_small_bundle(two.folder, after_seconds=6, seed=6)
        data = (fourth / "user_own.npy").read_bytes()
        (fourth / "user_own.npy").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        two.registry.publish(fourth.name)
        wait_until(lambda: client.get("/bundles").json()["trouble"] is not None)
        told = client.get("/bundles").json()
        assert (told["bundle"], told["published"]) == (third.name, fourth.name)
        assert "user_own.npy has sha256" in told["trouble"]["error"]
        assert {one["bundle_id"]: one["role"] for one in told["bundles"]}[fourth.name] == "published"
        assert counted(client, "reco_bundle_behind") == 1
        assert counted(client, 'reco_bundle_swaps_total{outcome="failed"}') == 1, "not at every look"

        (fourth / "user_own.npy").write_bytes(data)
        published(client, fourth)  # swaps, unless the retry after the backoff was quicker
        assert client.get("/readyz").json()["bundle"] == fourth.name
        assert client.get("/bundles").json()["trouble"] is None
        assert counted(client, "reco_bundle_behind") == 0


def test_a_pointer_that_is_damaged_is_told_and_the_bundle_serves_on(two):
    with serving(registry=two.folder, bundle_poll_s=0.05) as client:
        good = (two.folder / "current.json").read_bytes()
        (two.folder / "current.json").write_bytes(b"{")
        wait_until(lambda: client.get("/bundles").status_code == 503)
        wait_until(lambda: counted(client, "reco_registry_away") == 1)
        assert client.get("/recommend/user-3").status_code == 200
        (two.folder / "current.json").write_bytes(good)
        two.registry.publish(two.second.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == two.second.name)
        assert counted(client, "reco_registry_away") == 0
        assert counted(client, 'reco_bundle_swaps_total{outcome="failed"}') == 0, "no bundle was at fault"


def test_a_registry_behind_a_symbolic_link_may_be_exchanged_whole(two, tmp_path):
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to(two.folder)
    theirs = write_small_bundle(other, after_seconds=9, seed=9)
    type(two.registry)(other).publish(theirs.name)
    with serving(registry=link, data=tmp_path / "data", bundle_poll_s=0.05) as client:
        (tmp_path / "new").symlink_to(other)
        (tmp_path / "new").replace(link)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == theirs.name)

"""Bundles come and go in a process of its own while callers ask, and no caller notices."""

import threading
from collections import Counter
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
from processes import process
from servers import counted, wait_until

from index.bundle import Bundle

N_SWAPS = 90
K = 5


def right_lists(bundle: Bundle) -> dict[str, list[str]]:
    """What every user should be shown, by search."""
    index, lists = bundle.index(), {}
    for row in range(len(bundle.user_ids) - 1):  # of the last one nothing is known
        rows, _ = index.search(bundle.user_embeddings[row], K, bundle.seen(row))
        lists[bundle.user_ids[row]] = [bundle.item_ids[item] for item in rows[0].tolist()]
    return lists


class Callers:
    """Threads that ask again and again, and what they got."""

    def __init__(self, base_url: httpx.URL, lists: dict[str, dict[str, list[str]]]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.bundles: Counter[str] = Counter()
        self._lists = lists
        self._url = base_url
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(2)]

    def _ask(self, n: int) -> None:
        users = list(next(iter(self._lists.values())))
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._end.is_set():
                user = users[n % len(users)]
                n += 1
                try:
                    self._judge(user, client.get(f"/recommend/{user}?k={K}"))
                    self.outcomes[str(client.get(f"/similar/item-{n % 40}?by=image&explain=true").status_code)] += 1
                except httpx.TransportError as error:
                    self.outcomes[repr(error)] += 1
                self._end.wait(0.01)  # callers, not a benchmark: the server shares two cores with its test

    def _judge(self, user: str, answer: httpx.Response) -> None:
        told: dict[str, Any] = answer.json()
        shown = [item["item_id"] for item in told.get("items", ())]
        right = answer.status_code == 200 and shown == self._lists[told["bundle"]][user]
        self.outcomes["200" if right else f"wrong: {answer.text[:200]}"] += 1
        self.bundles[told.get("bundle", "")] += 1

    @contextmanager
    def asking(self) -> Any:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join()


def test_ninety_swaps_under_load_fail_no_request_mix_no_bundles_and_leave_nothing_behind(two, tmp_path):
    lists = {bundle.bundle_id: right_lists(bundle) for bundle in two.opened()}
    settings = {"bundle_poll_s": 0.02, "warm_up_requests": 5, "watch_s": 0}
    with process(two.folder, tmp_path / "log", **settings) as (running, client):
        callers, watched, used = Callers(client.base_url, lists), psutil.Process(running.pid), []
        with callers.asking():
            for swap in range(N_SWAPS):
                bundle_id = (two.second, two.first)[swap % 2].name
                two.registry.publish(bundle_id)
                before = callers.bundles[bundle_id]
                wait_until(lambda wanted=bundle_id: client.get("/readyz").json()["bundle"] == wanted)
                wait_until(lambda wanted=bundle_id, before=before: callers.bundles[wanted] > before)
                if swap in (N_SWAPS // 3, N_SWAPS - 1):
                    wait_until(lambda: counted(client, "reco_bundles_open") == 1)
                    if used:  # the last bundle's files close in a thread of their own, a moment after it is counted
                        wait_until(lambda: watched.num_fds() <= used[0][1] + 5)
                    used.append((watched.memory_info().rss, watched.num_fds(), len(watched.memory_maps(False))))
        assert counted(client, 'reco_bundle_swaps_total{outcome="done"}') == N_SWAPS
        assert counted(client, 'reco_bundle_swaps_total{outcome="failed"}') == 0
    assert list(callers.outcomes) == ["200"], callers.outcomes
    assert min(callers.bundles.values()) >= N_SWAPS / 2
    (rss, handles, maps), (rss_later, handles_later, maps_later) = used
    assert rss_later - rss < 1_000_000  # of a bundle of 30 kB: a leak of each would be 1.8 MB
    assert handles_later <= handles + 5
    assert maps_later <= maps + 5

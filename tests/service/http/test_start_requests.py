import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundles import edited, write_small_bundle
from servers import quiet_logs, serving

from index.registry import Registry
from service.app import create_app
from service.bundles.warmup import WarmUpResult
from service.ranking import facets
from service.ranking.facets import build_facets
from service.settings import Settings
from service.state import STATE, Service

KINDS = {"recommend", "similar", "item", "popular", "user", "batch", "session"}


def started(registry: Path, look: Callable[[Service], Any], **settings: object) -> Any:
    """What `look` sees of a service that is ready and has answered no request."""

    async def run() -> Any:
        app = create_app(Settings(registry=registry, gpu="off", **settings))
        async with app.router.lifespan_context(app) as state:
            return look(state[STATE])

    with quiet_logs():
        return asyncio.run(run())


def test_what_first_requests_would_build_is_built_when_the_service_is_ready(registry):
    def built(service: Service) -> tuple[set[str], bool]:
        loaded = service.current.loaded
        spaces = {by for by, building in loaded.trained.similar_items._building.items() if building.done()}
        facets = loaded.facet_store._building
        return spaces ^ set(loaded.similar_items.spaces), facets is not None and facets.done()

    assert started(registry, built) == (set(), True)
    assert started(registry, built, warm_up_requests=0) == (set(), False)


def test_a_large_bundle_is_ready_before_what_only_some_requests_need_is_built(registry, monkeypatch):
    """Its facets are being built by then, since that may take longer than a request may wait."""
    may_build = threading.Event()
    monkeypatch.setattr(facets, "build_facets", lambda *given: (may_build.wait(), build_facets(*given))[1])
    monkeypatch.setattr("service.http.start_requests.MOST_ITEMS", 10)
    monkeypatch.setattr("index.recommending.spaces.MOST_COPIED", 0)

    def built(service: Service) -> tuple[bool, bool]:
        loaded = service.current.loaded
        found = bool(loaded.trained.similar_items._building), loaded.facet_store._building.done()
        may_build.set()
        return found

    assert started(registry, built) == (False, False)
    with serving(registry=registry) as client:
        for path in ("/recommend/user-0?category=chair", "/similar/item-0?explain=true", "/similar/item-0?by=id"):
            response = client.get(path)
            assert response.status_code == 200, response.text
            assert response.json()["items"]


def test_a_request_of_each_kind_is_replayed_and_none_fails(registry, monkeypatch):
    replayed: list[str] = []
    results: list[WarmUpResult] = []
    from service.bundles import loader

    warm_up = loader.warm_up

    async def watched(loaded: Any, requests: Any, timer: Any) -> WarmUpResult:
        replayed.extend(request.replay.func.__self__.endpoint.__name__ for request in requests)
        results.append(await warm_up(loaded, requests, timer))
        return results[-1]

    monkeypatch.setattr(loader, "warm_up", watched)
    started(registry, lambda service: None)
    assert set(replayed) == KINDS
    assert [result.failures for result in results] == [()]


def test_warming_up_leaves_no_trace_in_what_callers_are_counted_by(registry):
    def seen(service: Service) -> tuple[int, int, float]:
        requests = sum(
            sample.value
            for metric in service.metrics.requests.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        )
        return len(service.recent), service.responses.n_bytes, requests

    assert started(registry, seen, log_impressions=True) == (0, 0, 0)


def test_a_start_request_that_fails_does_not_stop_the_start(registry, monkeypatch):
    async def fails(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("service.users.lookup.UserLookup.find", fails)
    with serving(registry=registry) as client:
        assert client.get("/readyz").status_code == 200


def test_a_bundle_whose_items_have_no_record_starts_and_answers_what_it_can(tmp_path):
    bundle = edited(write_small_bundle(tmp_path), "items/bytes.npy", lambda text: text.fill(ord("x")))
    Registry(tmp_path).publish(bundle.name)
    with serving(registry=tmp_path) as client:
        assert client.get("/readyz").status_code == 200

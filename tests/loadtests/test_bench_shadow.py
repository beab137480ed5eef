import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from bundles import make_content
from servers import publish, serving

from deploy.processes import Child
from index.records import PointerMove
from index.registry import Registry
from loadtests.bench_shadow import ShadowBench, requests_of


def test_answers_are_measured_without_and_with_a_shadow_and_none_fails(tmp_path: Path) -> None:
    rng, move = np.random.default_rng(0), PointerMove(at=datetime(2026, 1, 3, tzinfo=UTC), by="test")
    shadow = publish(tmp_path, make_content(seed=1)).bundle_id
    Registry(tmp_path).publish(shadow, move)
    publish(tmp_path)
    with serving(registry=tmp_path, answer_cache_mb=0, bundle_poll_s=0.02) as client:
        service = Child(client, client.base_url.port or 0, os.getpid())
        bench = ShadowBench(service, Registry(tmp_path), shadow, requests_of(30, 5, rng), 4, 0.1, rng)
        found = bench.run(load=0.5, rounds=1)
    for kind in ("fixed", "saturated"):
        assert [*found[kind]] == ["without", "shadow of 5%", "shadow of 100%"]
        assert all(row["failures"] == 0 and 0 < row["p50_ms"] <= row["p99_ms"] for row in found[kind].values())
        offered = {name: sum(counts[kind].values()) for name, counts in found["shadow_requests"].items()}
        assert offered["without"] == 0 < offered["shadow of 100%"]

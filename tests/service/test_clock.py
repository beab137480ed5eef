"""The wall clock jumps under a service process; what must not depend on it goes on as before."""

from pathlib import Path

import httpx
from processes import process

YEAR_S = 365 * 86_400
# The service with a wall clock that a file sets; the steady clock goes on, as it does under a real jump.
JUMPING = """
import runpy, sys, time
from pathlib import Path
real, ahead = time.time, Path(sys.argv[1])
time.time = lambda: real() + float(ahead.read_text())
sys.argv = ["service", "run"]
runpy.run_module("service", run_name="__main__")
"""


def bought(client: httpx.Client, item_id: str) -> httpx.Response:
    return client.post("/events", json={"user_id": "ann", "item_id": item_id, "kind": "purchase"})


def test_a_clock_that_jumps_under_the_process_fails_no_request_and_loses_no_event(
    registry: Path, tmp_path: Path
) -> None:
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    program = ("-c", JUMPING, str(ahead))
    settings = {"data": tmp_path / "data", "rate_limit_per_s": 1_000, "log_impressions": True}
    past: list[str] = []
    with process(registry, tmp_path / "log", program=program, **settings) as (_, client):
        for n, years in enumerate((0, 1, -3, 0.001, 0)):
            ahead.write_text(str(years * YEAR_S))
            past.append(f"item-{n}")
            assert bought(client, past[-1]).json()["accepted"] == 1
            answer = client.get("/recommend/ann", params={"k": 40}).json()
            assert answer["source"] == "fold_in"
            assert {item["item_id"] for item in answer["items"]}.isdisjoint(past)
            assert {item["item_id"] for item in client.get("/trending?k=40").json()["items"]} >= set(past)
            known = client.get("/users/ann").json()
            assert (known["events"], known["seen"]) == (n + 1, n + 1)
            assert min(known["last_event_age_s"], known["bundle_age_s"]) >= 0
            assert client.get("/quality").status_code == client.get("/readyz").status_code == 200
        assert 'reco_errors_total{code="rate_limited"}' not in client.get("/metrics").text

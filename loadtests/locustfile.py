"""A Locust user that asks as a shop does: recommendations, some explained, similar items, and people nobody knows.

    pip install 'anchorrec[load]'
    locust -f loadtests/locustfile.py --host http://recommendations.internal:8000 --user-ids users.txt --users 200

`--user-ids` (or RECO_LOAD_USER_IDS) names a file with one user id a line; similar items are asked of what was
recommended. Locust is a closed loop: each of its users waits for an answer before it asks again, so a slow server
slows its own load and the times look better than callers would find them. Use it to see a deployment under the mix
that you expect; to find latency limits use the open arrivals of `python -m loadtests.bench_serve`.
"""

import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

from locust import FastHttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser

KEPT_ITEMS = 1_000  # recommended items to ask /similar of


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Add the file of user ids to Locust's own options."""
    parser.add_argument("--user-ids", env_var="RECO_LOAD_USER_IDS", required=True, help="file with one user id a line")


@events.test_start.add_listener
def read_user_ids(environment: Any, **_: Any) -> None:
    """Read the ids once for all users."""
    lines = Path(environment.parsed_options.user_ids).read_text(encoding="utf-8").splitlines()
    environment.user_ids = [line for line in lines if line]


class Visitor(FastHttpUser):
    """One visitor: mostly plain recommendations."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        """Start with nothing seen."""
        self.rng = random.Random()
        self.items: list[str] = []

    @task(70)
    def recommend(self) -> None:
        """Recommendations for a known user, whose items are then worth a closer look."""
        answer = self._get("/recommend/[user]", f"/recommend/{self._user()}")
        self.items = (self.items + [item["item_id"] for item in answer.get("items", ())])[-KEPT_ITEMS:]

    @task(10)
    def explain(self) -> None:
        """The same with reasons."""
        self._get("/recommend/[user]?explain=true", f"/recommend/{self._user()}?explain=true")

    @task(15)
    def similar(self) -> None:
        """What is near an item that was recommended."""
        if self.items:
            item_id = quote(self.rng.choice(self.items), safe="")
            self._get("/similar/[item]", f"/similar/{item_id}")

    @task(5)
    def unknown(self) -> None:
        """Somebody new."""
        self._get("/recommend/[unknown]", f"/recommend/new-{self.rng.getrandbits(64):x}")

    def _user(self) -> str:
        return quote(self.rng.choice(self.environment.user_ids), safe="")

    def _get(self, name: str, path: str) -> dict[str, Any]:
        """Ask, under a name without ids, so that Locust's table has one row a kind of request."""
        with self.client.get(path, name=name, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return {}
            answer: dict[str, Any] = response.json()
            return answer

"""Visitors of a shop for Locust: recommendations, similar items, clicks; broken thresholds fail the run.

    pip install 'anchorrec[load]'
    locust -f loadtests/locustfile.py --headless --host http://recommendations.internal:8000 \\
        --load-profile steady --user-ids users.txt --html report.html

Locust is a closed loop: each of its users waits for a response before the next request, so a slow server slows down
its own load, and latencies look better than callers would find them. Locust shows how a deployment behaves under the
expected visitors. `python -m loadtests.slo` finds the highest load that a service can handle, with open arrivals.
"""

import random
import sys
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from locust import FastHttpUser, LoadTestShape, events, task
from locust.argument_parser import LocustArgumentParser
from locust.runners import WorkerRunner

from loadtests.load_profiles import PROFILES
from loadtests.locust_options import OPTIONS, P99_MS, ROUTES
from loadtests.shop_traffic import EVENT, RECOMMEND, SIMILAR, VISITOR_CYCLE, visit, visitors
from loadtests.thresholds import RouteResult, Thresholds

UNKNOWN_USERS = 1_000  # visitors where no file names any: the service learns about them from their events
SPAWN_RATE = 100.0  # visitors per second at most, while their number follows the profile
OK = {RECOMMEND: 200, SIMILAR: 200, EVENT: 202}


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Add our options to Locust's own."""
    for one in OPTIONS:
        parser.add_argument(
            one.name, type=one.type, default=one.default, help=one.help, env_var=one.variable, is_secret=one.secret
        )


@events.init.add_listener
def check_user_ids(environment: Any, **_: Any) -> None:
    """Refuse an empty file of user ids before the run; workers receive their options only later."""
    path = environment.parsed_options.user_ids
    try:
        found = read_user_ids(path)
    except (OSError, UnicodeError) as error:
        _refuse(f"--user-ids {path} cannot be read: {error}")
    if not found:
        _refuse(f"--user-ids {path} is empty; expected one user id a line")


@events.test_start.add_listener
def draw_visitors(environment: Any, **_: Any) -> None:
    """Choose the order of the users, once for all visitors of this process."""
    options = environment.parsed_options
    environment.visitors = visitors(read_user_ids(options.user_ids), options.seed, random.randrange(VISITOR_CYCLE))


def _refuse(what: str) -> NoReturn:
    # Locust continues after an exception in a listener; only an exit ends it.
    print(f"error: {what}", file=sys.stderr)
    sys.exit(2)


def read_user_ids(path: str | None) -> list[str]:
    """Return the ids in the file, or ids of unknown users where no file is given."""
    if not path:
        return [f"visitor-{number}" for number in range(UNKNOWN_USERS)]
    return [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line]


@events.quitting.add_listener
def check_thresholds(environment: Any, **_: Any) -> None:
    """Compare the statistics with the thresholds and set the exit status. Only the master does so, not its workers."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options, stats = environment.parsed_options, environment.stats
    thresholds = Thresholds(options.max_failures, {ROUTES[kind]: getattr(options, f"p99_{kind}_ms") for kind in P99_MS})
    routes = [
        RouteResult(one.name, one.num_requests, one.num_failures, one.get_response_time_percentile(0.99))
        for one in stats.entries.values()
    ]
    broken = [*thresholds.broken(routes), *(f"the locustfile itself failed: {error}" for error in _errors(environment))]
    for line in broken:
        print(f"limit broken: {line}", file=sys.stderr)
    if not broken:
        print(f"all limits hold: {stats.total.num_requests:,} requests", file=sys.stderr)
    if getattr(environment.runner, "cpu_warning_emitted", False) or environment.runner.worker_cpu_warning_emitted:
        print("Locust itself had no CPU left: its latencies are too long; use more workers", file=sys.stderr)
    environment.process_exit_code = 1 if broken else 0


def _errors(environment: Any) -> list[str]:
    return [str(one["msg"]) for one in environment.runner.exceptions.values()]


class ProfileShape(LoadTestShape):
    """Sets the number of visitors according to the load profile."""

    def tick(self) -> tuple[int, float] | None:
        """Return the number of visitors now, and None at the end."""
        assert self.runner is not None  # Locust sets it before the first tick
        options: Any = self.runner.environment.parsed_options
        profile = PROFILES[options.load_profile].scaled(options.peak_users, options.seconds)
        share = self.get_run_time() / profile.seconds
        return None if share >= 1 else (profile.users_at(share), SPAWN_RATE)


class Visitor(FastHttpUser):
    """Makes one visit after another, each as the next user."""

    def on_start(self) -> None:
        """Set what all visits share."""
        self.rng = random.Random()
        self.options = self.environment.parsed_options
        key = self.options.api_key
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def wait_time(self) -> float:
        """Return an exponential think time: mostly short, occasionally long."""
        return self.rng.expovariate(1 / self.options.think_s)

    @task
    def make_visit(self) -> None:
        """Make one visit. After a response without items the next request is for recommendations again."""
        user = next(self.environment.visitors)
        shown: dict[str, Any] = {}
        for number, kind in enumerate(visit(self.rng)):
            if number:
                self.wait()
            if kind == RECOMMEND or not shown.get("items"):
                shown = self.recommend(user)
            elif kind == SIMILAR:
                self.similar(shown)
            else:
                self.click(user, shown)

    def recommend(self, user: str) -> dict[str, Any]:
        """Request recommendations, some with explanations."""
        explained = "?explain=true" if self.rng.random() < self.options.explained else ""
        return self._send(RECOMMEND, "GET", f"/recommend/{quote(user, safe='')}{explained}")

    def similar(self, shown: dict[str, Any]) -> None:
        """Request items similar to one of those shown."""
        item = self.rng.choice(shown["items"])["item_id"]
        self._send(SIMILAR, "GET", f"/similar/{quote(item, safe='')}")

    def click(self, user: str, shown: dict[str, Any]) -> None:
        """Send an impression of the response and a click on one of its items, joined by the request id."""
        of_response = {"user_id": user, "request_id": shown["request_id"], "bundle": shown["bundle"]}
        impression = {**of_response, "kind": "impression", "value": len(shown["items"])}
        clicked = {**of_response, "kind": "click", "item_id": self.rng.choice(shown["items"])["item_id"]}
        self._send(EVENT, "POST", "/events", json=[impression, clicked])

    def _send(self, kind: str, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Send a request under the route's name, so that Locust's table has one row a route; {} where it failed."""
        call = self.client.request(method, path, name=ROUTES[kind], headers=self.headers, catch_response=True, **body)
        with call as response:
            if response.status_code != OK[kind]:
                response.failure(f"status {response.status_code}")
                return {}
            content: dict[str, Any] = response.json()
            return content

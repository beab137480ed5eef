"""Visitors of a shop for Locust: they open with recommendations, look closer, click; limits that fail the run.

    pip install 'anchorrec[load]'
    locust -f loadtests/locustfile.py --headless --host http://recommendations.internal:8000 \\
        --load-profile steady --user-ids users.txt --html report.html

Locust is a closed loop: each of its users waits for an answer before it asks again, so a slow server slows its own
load and the times look better than callers would find them. It says how a deployment does under the visitors that you
expect. How much load a service bears, `python -m loadtests.slo` finds out, with open arrivals.
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

STRANGERS = 1_000  # visitors where no file names any: the service gets to know them by their events
SPAWN_RATE = 100.0  # visitors a second at most, on their way to what the profile says
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
    """Refuse a file that names nobody before anybody comes; workers have their options only later."""
    path = environment.parsed_options.user_ids
    try:
        found = read_user_ids(path)
    except (OSError, UnicodeError) as error:
        _refuse(f"--user-ids {path} cannot be read: {error}")
    if not found:
        _refuse(f"--user-ids {path} names nobody; expected one user id a line")


@events.test_start.add_listener
def draw_visitors(environment: Any, **_: Any) -> None:
    """Say who comes, once for all visitors of this process."""
    options = environment.parsed_options
    environment.visitors = visitors(read_user_ids(options.user_ids), options.seed, random.randrange(VISITOR_CYCLE))


def _refuse(what: str) -> NoReturn:
    # Locust lets listeners fail and goes on; only an exit ends it.
    print(f"error: {what}", file=sys.stderr)
    sys.exit(2)


def read_user_ids(path: str | None) -> list[str]:
    """The ids in the file; people nobody knows where no file is named."""
    if not path:
        return [f"visitor-{number}" for number in range(STRANGERS)]
    return [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line]


@events.quitting.add_listener
def judge(environment: Any, **_: Any) -> None:
    """Hold what was found to the limits, and let the exit status say so. Workers only report to their master."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options, stats = environment.parsed_options, environment.stats
    limits = Thresholds(options.max_failures, {ROUTES[kind]: getattr(options, f"p99_{kind}_ms") for kind in P99_MS})
    routes = [
        RouteResult(one.name, one.num_requests, one.num_failures, one.get_response_time_percentile(0.99))
        for one in stats.entries.values()
    ]
    broken = [*limits.broken(routes), *(f"the locustfile itself failed: {error}" for error in _errors(environment))]
    for line in broken:
        print(f"limit broken: {line}", file=sys.stderr)
    if not broken:
        print(f"all limits hold: {stats.total.num_requests:,} requests", file=sys.stderr)
    if getattr(environment.runner, "cpu_warning_emitted", False) or environment.runner.worker_cpu_warning_emitted:
        print("Locust itself had no CPU left: its times are too long, give it more workers", file=sys.stderr)
    environment.process_exit_code = 1 if broken else 0


def _errors(environment: Any) -> list[str]:
    return [str(one["msg"]) for one in environment.runner.exceptions.values()]


class Course(LoadTestShape):
    """As many visitors as the profile says."""

    def tick(self) -> tuple[int, float] | None:
        """How many there should be now; None at the end."""
        assert self.runner is not None  # Locust sets it before it asks
        options: Any = self.runner.environment.parsed_options
        profile = PROFILES[options.load_profile].scaled(options.peak_users, options.seconds)
        share = self.get_run_time() / profile.seconds
        return None if share >= 1 else (profile.users_at(share), SPAWN_RATE)


class Visitor(FastHttpUser):
    """Makes one visit after another, each as somebody else."""

    def on_start(self) -> None:
        """Take what all visits share."""
        self.rng = random.Random()
        self.options = self.environment.parsed_options
        key = self.options.api_key
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def wait_time(self) -> float:
        """Think: mostly shortly, now and then for long."""
        return self.rng.expovariate(1 / self.options.think_s)

    @task
    def come(self) -> None:
        """One visit. Where an answer had no items there is nothing to look at, and the next ones are asked for."""
        user = next(self.environment.visitors)
        seen: dict[str, Any] = {}
        for number, kind in enumerate(visit(self.rng)):
            if number:
                self.wait()
            if kind == RECOMMEND or not seen.get("items"):
                seen = self.recommend(user)
            elif kind == SIMILAR:
                self.similar(seen)
            else:
                self.click(user, seen)

    def recommend(self, user: str) -> dict[str, Any]:
        """Recommendations, some with reasons."""
        reasons = "?explain=true" if self.rng.random() < self.options.explained else ""
        return self._ask(RECOMMEND, "GET", f"/recommend/{quote(user, safe='')}{reasons}")

    def similar(self, seen: dict[str, Any]) -> None:
        """What is near to something in the answer that the visitor looks at."""
        item = self.rng.choice(seen["items"])["item_id"]
        self._ask(SIMILAR, "GET", f"/similar/{quote(item, safe='')}")

    def click(self, user: str, seen: dict[str, Any]) -> None:
        """Tell that the answer was shown and one of its items clicked, by the request id that joins the two."""
        of_answer = {"user_id": user, "request_id": seen["request_id"], "bundle": seen["bundle"]}
        shown = {**of_answer, "kind": "impression", "value": len(seen["items"])}
        clicked = {**of_answer, "kind": "click", "item_id": self.rng.choice(seen["items"])["item_id"]}
        self._ask(EVENT, "POST", "/events", json=[shown, clicked])

    def _ask(self, kind: str, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Ask, under the route's name, so that Locust's table has one row a route; an empty answer where it failed."""
        call = self.client.request(method, path, name=ROUTES[kind], headers=self.headers, catch_response=True, **body)
        with call as response:
            if response.status_code != OK[kind]:
                response.failure(f"status {response.status_code}")
                return {}
            answer: dict[str, Any] = response.json()
            return answer

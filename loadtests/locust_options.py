"""The options that our locustfile adds to Locust's own; `python -m loadtests.loadtest --help` lists them."""

from dataclasses import dataclass
from typing import Any

from loadtests.load_profiles import PROFILES
from loadtests.shop_traffic import EVENT, RECOMMEND, SIMILAR

ROUTES = {RECOMMEND: "/recommend/{user_id}", SIMILAR: "/similar/{item_id}", EVENT: "/events"}
P99_MS = {RECOMMEND: 50.0, SIMILAR: 50.0, EVENT: 200.0}


@dataclass(frozen=True)
class Option:
    """One option. `variable` is an environment variable that may hold its value instead."""

    name: str
    help: str
    type: type = float
    default: Any = None
    variable: str | None = None
    secret: bool = False


OPTIONS = (
    Option("--load-profile", ", ".join(PROFILES), str, "smoke"),
    Option("--peak-users", "visitors at the peak, instead of the profile's", int),
    Option("--seconds", "duration of the run, instead of the profile's"),
    Option("--think-s", "seconds between requests of a visitor, on average", default=1.0),
    Option("--explained", "share of recommendations requested with explanations", default=0.1),
    Option("--user-ids", "file with one user id a line; without it, unknown users", str, None, "RECO_LOAD_USER_IDS"),
    Option("--api-key", "key to send; it must be allowed to write", str, None, "RECO_LOAD_API_KEY", secret=True),
    Option("--seed", "decides which users are frequent; equal for all workers", int, 0),
    Option("--max-failures", "share of requests that may fail", default=0.001),
    *(Option(f"--p99-{kind}-ms", f"limit of {ROUTES[kind]}", default=ms) for kind, ms in P99_MS.items()),
)


def options_help() -> str:
    """Return the options as a list in Markdown."""
    return "\n".join(f"- `{one.name}` {one.help}{_details(one)}" for one in OPTIONS)


def _details(option: Option) -> str:
    details = [f"or {option.variable}"] if option.variable else []
    if option.default is not None:
        details.append(f"default {option.default}")
    return f" ({', '.join(details)})" if details else ""

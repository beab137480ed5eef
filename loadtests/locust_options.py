"""The options that our locustfile adds to Locust's own. Locust's `--help` does not know them, so ours tells of them."""

from dataclasses import dataclass
from typing import Any

from loadtests.load_profiles import PROFILES
from loadtests.shop_traffic import EVENT, RECOMMEND, SIMILAR

ROUTES = {RECOMMEND: "/recommend/{user_id}", SIMILAR: "/similar/{item_id}", EVENT: "/events"}
P99_MS = {RECOMMEND: 50.0, SIMILAR: 50.0, EVENT: 200.0}


@dataclass(frozen=True)
class Option:
    """One option. Where a variable of the environment is named, it may stand there instead."""

    name: str
    help: str
    type: type = float
    default: Any = None
    variable: str | None = None
    secret: bool = False


OPTIONS = (
    Option("--load-profile", ", ".join(PROFILES), str, "smoke"),
    Option("--peak-users", "visitors at the peak, where not the profile's own", int),
    Option("--seconds", "of the whole run, where not the profile's own"),
    Option("--think-s", "seconds between requests of a visitor, on average", default=1.0),
    Option("--explained", "share of recommendations asked with reasons", default=0.1),
    Option("--user-ids", "file with one user id a line; without: people nobody knows", str, None, "RECO_LOAD_USER_IDS"),
    Option("--api-key", "to be shown; one that may write", str, None, "RECO_LOAD_API_KEY", secret=True),
    Option("--seed", "of who comes often; the same for all workers", int, 0),
    Option("--max-failures", "share of requests that may fail", default=0.001),
    *(Option(f"--p99-{kind}-ms", f"limit of {ROUTES[kind]}", default=ms) for kind, ms in P99_MS.items()),
)


def told() -> str:
    """The options as a list in Markdown."""
    return "\n".join(f"- `{one.name}` {one.help}{_beside(one)}" for one in OPTIONS)


def _beside(option: Option) -> str:
    said = [f"or {option.variable}"] if option.variable else []
    if option.default is not None:
        said.append(f"default {option.default}")
    return f" ({', '.join(said)})" if said else ""

"""`anchorrec ask`: questions to a running service, answered as a table with reasons, or as the service's own JSON."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.client import Client, ClientError, Unreachable
from service.client import endpoints as of
from service.client.request import ClientRequest
from service.http.responses import ItemAnswer, RecommendAnswer, RecommendedItem, SimilarAnswer, SimilarItem, UserAnswer

KEY = "RECO_KEY"
T = TypeVar("T")

app = typer.Typer(
    help="Ask a running service. Exit status: 0 answered, 1 refused or unreachable, 2 a wrong command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Url = Annotated[str, typer.Option(help="Where the service is.")]
KeyFromEnv = Annotated[bool, typer.Option("--key-from-env", help=f"Send the API key that {KEY} holds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the response as it came.")]
Length = Annotated[int, typer.Option("-k", min=1, help="Items of the list.")]
HERE = "http://127.0.0.1:8000"
POPULAR = "popular items, as the service knows nothing of this user"


@app.command()
def recommend(
    user: str,
    k: Length = 10,
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Show why, and the parts of each score.")] = False,
    url: Url = HERE,
    key_from_env: KeyFromEnv = False,
    as_json: AsJson = False,
) -> None:
    """The best items for a user."""
    question = of.recommend(user, k=k, explain=explain)

    def show(answer: RecommendAnswer, console: Console) -> None:
        table = _ranked("score", "title, and why" if explain else "title", lines=explain)
        for item in answer.items:
            table.add_row(*map(_text, (item.rank, item.item_id, _number(item.score))), _told(item))
        made_from = POPULAR if answer.source == "popular" else f"from {answer.source}"
        _print(console, table, f"for {user}: {made_from}; {answer.bundle}", answer.warnings)

    _ask(question, show, url, key_from_env=key_from_env, as_json=as_json)


@app.command()
def similar(
    item: str,
    k: Length = 10,
    *,
    url: Url = HERE,
    key_from_env: KeyFromEnv = False,
    as_json: AsJson = False,
) -> None:
    """The nearest items of an item, with the reasons: its cosines and the users that both have."""

    def show(answer: SimilarAnswer, console: Console) -> None:
        table = _ranked("score", "title, and why", lines=True)
        for one in answer.items:
            table.add_row(*map(_text, (one.rank, one.item_id, _number(one.score))), _likeness(one))
        _print(console, table, answer.reason or f"like {item}, by {answer.by} of {answer.bundle}", answer.warnings)

    _ask(of.similar(item, k=k, explain=True), show, url, key_from_env=key_from_env, as_json=as_json)


@app.command("item")
def show_item(item: str, *, url: Url = HERE, key_from_env: KeyFromEnv = False, as_json: AsJson = False) -> None:
    """What the service knows of an item."""

    def show(answer: ItemAnswer, console: Console) -> None:
        attributes = answer.item.get("attributes") or {}
        about = {name: value for name, value in answer.item.items() if name != "attributes"} | attributes
        known = {"users who had it": answer.users, "lists": answer.state, "why not": answer.reason}
        _print_facts(console, about | known | {f"norm of {name}": size for name, size in answer.part_norms.items()})

    _ask(of.item(item), show, url, key_from_env=key_from_env, as_json=as_json)


@app.command("user")
def show_user(user: str, *, url: Url = HERE, key_from_env: KeyFromEnv = False, as_json: AsJson = False) -> None:
    """What the service knows of a user, and how fresh it is."""

    def show(answer: UserAnswer, console: Console) -> None:
        if answer.trained or answer.seen or answer.events or answer.excluded:
            _show_all(answer, console)
        else:
            unknown = f"the service does not know the user {user}: no training and no event had this id; lists for it "
            console.print(_text(f"{unknown}are of popular items"), soft_wrap=True)

    _ask(of.user(user), show, url, key_from_env=key_from_env, as_json=as_json)


@app.command()
def ready(*, url: Url = HERE, key_from_env: KeyFromEnv = False, as_json: AsJson = False) -> None:
    """Whether the service can answer, and with which bundle."""
    _ask(of.readyz(), _show_all, url, key_from_env=key_from_env, as_json=as_json)


def _ask(
    question: ClientRequest[T], show: Callable[[T, Console], None], url: str, *, key_from_env: bool, as_json: bool
) -> None:
    """Send it and show the answer; what goes wrong is one line and exit status 1."""
    key = os.environ.get(KEY) if key_from_env else None
    if key_from_env and not key:
        _fail(f"{KEY} holds no API key; expected: export {KEY}=...")
    if not url.startswith(("http://", "https://")):
        _fail(f"--url is {url!r}, expected an address such as {HERE}")
    try:
        with Client(url, api_key=key) as client:
            if as_json:
                print(client.send(ClientRequest(question.method, question.path, str, question.query)))
            else:
                show(client.send(question), Console(soft_wrap=False))
    except Unreachable as error:
        _fail(f"no service answers at {url} ({error}); start one with `anchorrec serve`, or name it: --url")
    except ClientError as error:
        _fail(f"the service answered {error}")


def _fail(problem: str) -> None:
    print(f"error: {_text(problem).plain}", file=sys.stderr)
    sys.exit(1)


def _ranked(*columns: str, lines: bool = False) -> Table:
    """A table of ranked items, whose ids stay whole in a narrow terminal; lines: between its rows."""
    table = Table(show_lines=lines)
    for name in ("rank", "item"):
        table.add_column(name, no_wrap=True, overflow="fold")
    for name in columns:
        table.add_column(name)
    return table


def _told(item: RecommendedItem) -> Text:
    """The title; below it the sentence that says why, and the parts of the score, the largest first."""
    why = item.explanation
    if why is None:
        return _text(item.title)
    parts = sorted((why.parts or {}).items(), key=lambda part: -abs(part[1]))
    shares = ", ".join(f"{name} {_number(share)}" for name, share in parts)
    return Text("\n").join([_text(item.title), _text(why.sentence), _text(shares)])


def _likeness(item: SimilarItem) -> Text:
    """The title; below it the cosines, the largest first, and how many users both items have."""
    if item.explanation is None:
        return _text(item.title)
    cosines = sorted(item.explanation.cosines.items(), key=lambda cosine: -cosine[1])
    shares = ", ".join(f"{space} {_number(cosine)}" for space, cosine in cosines)
    common = item.explanation.users_in_common
    return Text("\n").join([_text(item.title), _text(f"cosine: {shares}; users in common: {common}")])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _text(value: object) -> Text:
    """A cell with no markup and without characters that control a terminal, whatever a title holds."""
    return Text("".join(one if one.isprintable() else " " for one in str(value)))


def _show_all(answer: Any, console: Console) -> None:
    _print_facts(console, answer.model_dump())


def _print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    table = Table(show_header=False)
    for name, value in facts.items():
        if name != "request_id" and value not in (None, "", [], {}):
            table.add_row(_text(name.replace("_", " ")), _text(_shown(value)))
    console.print(table)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name.replace('_', ' ')} {_shown(one)}" for name, one in value.items() if one not in ({}, None)
        )
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return str(value)


def _print(console: Console, table: Table, caption: str, warnings: list[str]) -> None:
    console.print(table)
    console.print(_text(caption), style="dim")
    for warning in warnings:
        console.print(_text(f"warning: {warning}"), style="yellow")

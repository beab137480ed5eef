"""What the demo shows of a running service: three example responses, and how to ask it oneself."""

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from deploy.ask import POPULAR
from deploy.check_service import CheckedService, escaped, example_user, examples
from index.bundle import Bundle


def show_examples(console: Console, bundle: Bundle, client: httpx.Client, *, whole: bool) -> None:
    """Send the example requests and print the responses: whole, or the first item of each with its reasons."""
    for path in examples(bundle, client):
        response = client.get(path)
        if whole:
            console.rule(f"GET {client.base_url}{path}", align="left")
            console.print_json(response.text)
            told = f"{response.status_code}; {response.headers['server-timing']}"
            console.print(told, style="dim", highlight=False, soft_wrap=True)
        else:
            console.print(f"[bold]GET {path}[/]", highlight=False, soft_wrap=True)
            console.print(Text("\n".join(f"   {line}" for line in shortened(response.json()))), soft_wrap=True)


def shortened(answer: Mapping[str, Any]) -> list[str]:
    """The first item of a response in lines: its title, the sentence that says why, and the parts of its score."""
    first = answer["items"][0]
    why = first.get("explanation", {})
    lines = [f"{first['item_id']}: {first['title']} (score {first['score']:.3g})"]
    if "sentence" in why:
        lines += [why["sentence"], f"parts of the score: {_largest_first(why['parts'])}"]
    if "cosines" in why:
        lines.append(f"cosines: {_largest_first(why['cosines'])}; users in common: {why['users_in_common']}")
    return lines + ([POPULAR] if answer["source"] == "popular" else [])


def _largest_first(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in sorted(values.items(), key=lambda one: -abs(one[1])))


def show_addresses(console: Console, client: httpx.Client) -> None:
    """Print where a browser finds the service."""
    built = client.get("/console").status_code == httpx.codes.OK
    console.rule("Open in a browser", align="left")
    _print(console, f"the console   {client.base_url}/console{'' if built else '   (not built: make console)'}", "bold")
    _print(console, f"the API       {client.base_url}/docs")


def show_questions(console: Console, registry: Path, bundle: Bundle, client: httpx.Client) -> None:
    """Print commands that ask the service, and what Python needs to answer without it, ready to copy."""
    user = example_user(CheckedService(client, bundle))
    url = str(client.base_url)
    console.rule("Ask it from another terminal", align="left")
    _print(console, f"curl {quote(f'{url}/recommend/{escaped(user)}?k=3&explain=true')}")
    _print(console, f"{command()} ask recommend {quote(user)} --explain --url {url}")
    console.rule("Or from Python, without the service", align="left")
    _print(console, f"from index import open_bundle    # in {command('python')}")
    _print(console, f'open_bundle("{registry}").recommend({user!r}, k=3)')


def command(name: str = "anchorrec") -> str:
    """How a command of this environment is called from this folder."""
    found = Path(sys.executable).parent / name
    if not found.exists():
        return f"{sys.executable} -m deploy.anchorrec"
    return str(found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found)


def _print(console: Console, line: str, style: str = "") -> None:
    """A line to be copied: unbroken, without markup."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

"""What came of the faults, for people and for programs."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from index.errors import InputError
from loadtests.rehearsal.fault_runner import Outcome

HEADINGS = ("fault", "requests", "failed", "refused", "p99 ms before / during / after", "felt s", "whole s", "retried",
            "events lost", "alerts (would fire)", "verdict")  # fmt: skip
WORDS = ("fault", "alerts (would fire)", "verdict")
JSON, MARKDOWN = ".json", ".md"


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """One row a fault."""
    table = Table(title="rehearsal", title_justify="left", show_lines=True)
    for heading in HEADINGS:
        words = heading in WORDS
        table.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=heading == WORDS[0])
    for outcome in outcomes:
        table.add_row(*cells(outcome))
    return table


def cells(outcome: Outcome) -> list[str]:
    """Of one row."""
    seen = outcome.seen
    alerts = [*outcome.fired, *(f"({name})" for name in outcome.pending)]
    return [
        outcome.fault,
        f"{seen.requests:,}",
        f"{seen.failures:,}",
        f"{seen.refusals:,}",
        " / ".join("-" if math.isnan(ms) else f"{ms:.0f}" for ms in seen.p99_ms),
        f"{seen.felt_s:.1f}",
        f"{seen.whole_s:.1f}",
        f"{outcome.retries:,}",
        f"{outcome.lost:,}",
        "\n".join(alerts) or "-",
        "BROKEN" if outcome.broken else "kept",
    ]


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The same for a page."""
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(cells(outcome) for outcome in outcomes)]
    lines = ["| " + " | ".join(cell.replace("\n", ", ") for cell in row) + " |" for row in rows]
    broken = [f"* {outcome.fault}: {limit}" for outcome in outcomes for limit in outcome.broken]
    return "\n".join([*lines, *(["", "Broken limits:", "", *broken] if broken else [])]) + "\n"


def record(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(outcome) for outcome in outcomes]


def check_writable(path: Path) -> None:
    """InputError where the report could not be written in the end."""
    if path.suffix not in (JSON, MARKDOWN):
        raise InputError(f"--out {path}: expected a file ending in {JSON} or {MARKDOWN}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--out {path}: {path.absolute().parent} is no folder")


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the report in the format that the file's name asks for."""
    text = (
        markdown(outcomes).encode()
        if path.suffix == MARKDOWN
        else orjson.dumps(record(outcomes), option=orjson.OPT_INDENT_2)
    )
    path.write_bytes(text)

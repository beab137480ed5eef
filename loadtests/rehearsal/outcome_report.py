"""The outcomes of a rehearsal as a table, as Markdown and as JSON."""

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
TEXT_HEADINGS = ("fault", "alerts (would fire)", "verdict")
JSON, MARKDOWN = ".json", ".md"


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """Return a table with one row per fault."""
    table = Table(title="rehearsal", title_justify="left", show_lines=True)
    for heading in HEADINGS:
        justify = "left" if heading in TEXT_HEADINGS else "right"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=heading == HEADINGS[0])  # type: ignore[arg-type]
    for outcome in outcomes:
        table.add_row(*cells(outcome))
    return table


def cells(outcome: Outcome) -> list[str]:
    """Return the cells of one row."""
    impact = outcome.seen
    alerts = [*outcome.fired, *(f"({name})" for name in outcome.pending)]
    return [
        outcome.fault,
        f"{impact.requests:,}",
        f"{impact.failures:,}",
        f"{impact.refusals:,}",
        " / ".join("-" if math.isnan(ms) else f"{ms:.0f}" for ms in impact.p99_ms),
        f"{impact.felt_s:.1f}",
        f"{impact.whole_s:.1f}",
        f"{outcome.retries:,}",
        f"{outcome.lost:,}",
        "\n".join(alerts) or "-",
        "BROKEN" if outcome.broken else "kept",
    ]


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table and the broken limits."""
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(cells(outcome) for outcome in outcomes)]
    lines = ["| " + " | ".join(cell.replace("\n", ", ") for cell in row) + " |" for row in rows]
    broken = [f"* {outcome.fault}: {limit}" for outcome in outcomes for limit in outcome.broken]
    return "\n".join([*lines, *(["", "Broken limits:", "", *broken] if broken else [])]) + "\n"


def record(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the outcomes as JSON objects."""
    return [asdict(outcome) for outcome in outcomes]


def check_writable(path: Path) -> None:
    """Raise InputError where the report cannot be written to this path."""
    if path.suffix not in (JSON, MARKDOWN):
        raise InputError(f"--out {path}: expected a file ending in {JSON} or {MARKDOWN}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--out {path}: {path.absolute().parent} is no folder")


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the report as Markdown or JSON, according to the file's suffix."""
    text = (
        markdown(outcomes).encode()
        if path.suffix == MARKDOWN
        else orjson.dumps(record(outcomes), option=orjson.OPT_INDENT_2)
    )
    path.write_bytes(text)

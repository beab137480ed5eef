"""`python -m trainer analyze`: everything, written into one folder."""

from collections.abc import Sequence
from pathlib import Path

from index.errors import InputError
from index.storage import replace_file
from trainer.analyze.page import Section, render
from trainer.analyze.runs import ComparedRuns, open_runs
from trainer.analyze.sections import AnalysisSettings, all_sections

PAGE = "report.html"


def analyze(runs: Sequence[Path], out: Path, settings: AnalysisSettings, *, trained_tables: bool = False) -> Path:
    """Write report.html, and a CSV file for each of its tables, into `out`; an earlier report there is replaced.

    Args:
        runs: folders of finished runs on one data set.
        out: a new or empty folder, or that of an earlier report.
        settings: what is drawn and how much of it.
        trained_tables: as in `open_runs`.

    Returns:
        The page.

    Raises:
        InputError: the runs cannot be compared, an item is unknown, or `out` holds something else. Nothing is written.
    """
    _check_free(out)
    compared = open_runs(runs, trained_tables=trained_tables)
    sections = all_sections(compared, settings)
    page = render(
        f"{compared.dataset.name}: {', '.join(run.name for run in compared.runs)}", _facts(compared), sections
    )
    _write(out, page, sections)
    return out / PAGE


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for the report")
    if out.exists() and any(out.iterdir()) and not (out / PAGE).exists():
        raise InputError(f"{out} is not empty and holds no report; choose an empty folder")


def _facts(compared: ComparedRuns) -> list[tuple[str, str]]:
    dataset = compared.dataset
    sizes = f"{dataset.n_users:,} users, {dataset.n_items:,} items, {len(dataset.interactions):,} interactions"
    widths = ", ".join(f"{name} {features.shape[1]}" for name, features in dataset.features.items())
    return [
        ("data set", f"{dataset.name}, fingerprint {dataset.fingerprint[:12]}"),
        ("size", sizes),
        ("features", widths or "none"),
        ("runs", ", ".join(run.name for run in compared.runs)),
    ]


def _write(out: Path, page: str, sections: Sequence[Section]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    files = {f"{table.name}.csv": table.frame.write_csv().encode() for section in sections for table in section.tables}
    for name, content in files.items():
        replace_file(out / name, content)
    replace_file(out / PAGE, page.encode())
    for stale in set(out.glob("*.csv")) - {out / name for name in files}:
        stale.unlink()

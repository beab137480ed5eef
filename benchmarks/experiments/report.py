"""The shares and tables of many simulated experiments."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.experiments.looks import Found, Looks
from index.experiments import Metric
from service.experiments.statistics import METRICS


def summary(found: Mapping[float, Sequence[Looks]]) -> dict[str, Any]:
    """Shares of experiments, `found` by true lift; the one of lift 0 counts false alarms, the others found lifts."""
    alike = found[0.0]
    return {
        "runs": len(alike),
        "false_alarms": {metric: _shares(alike, metric) for metric in METRICS},
        "sample_ratio": {
            "daily": _share(looks.ratio_below_alpha for looks in alike),
            "one_look": _share(looks.one_look_ratio for looks in alike),
            "warned": _share(looks.ratio_warned for looks in alike),
        },
        "lifts": {
            f"{lift:g}": {"runs": len(looks)} | {metric: _shares(looks, metric) for metric in METRICS}
            for lift, looks in found.items()
            if lift
        },
    }


def _shares(looks: Sequence[Looks], metric: Metric) -> dict[str, float | None]:
    found: list[Found] = [each.metrics[metric] for each in looks]
    days = [each.day for each in found if each.day is not None]
    covered = [each.covered for each in found if each.covered is not None]
    widths = [each.half_width for each in found if each.half_width is not None]
    return {
        "found": len(days) / len(found),
        "one_look": _share(each.one_look for each in found),
        "median_day": median(days) if days else None,
        "wrong_sign": _share(each.wrong_sign for each in found),
        "missed": _share(each.missed for each in found),
        "covered": _share(covered) if covered else None,
        "measured": len(covered) / len(found),
        "half_width": median(widths) if widths else None,
    }


def _share(values: Iterable[bool]) -> float:
    found = list(values)
    return sum(found) / len(found)


def tables(record: Mapping[str, Any]) -> list[Table]:
    """False alarms beside those of a test made for one look; what was found of each true lift."""
    alarms = _table(f"false alarms, {record['runs']:,} experiments", "always valid", "made for one look")
    for metric, shares in record["false_alarms"].items():
        alarms.add_row(metric, _percent(shares["found"]), _percent(shares["one_look"]))
    ratio = record["sample_ratio"]
    alarms.add_row("sample ratio", _percent(ratio["daily"]), _percent(ratio["one_look"]))
    if not record["lifts"]:
        return [alarms]
    lifts = _table(
        "true lifts", "found", "median day", "wrong sign", "missed on any day", "covered on the last day", "half width"
    )
    for lift, by_metric in record["lifts"].items():
        for metric in METRICS:
            shares = by_metric[metric]
            day = "" if shares["median_day"] is None else f"{shares['median_day']:g}"
            last = [_percent(shares[name]) for name in ("wrong_sign", "missed", "covered", "half_width")]
            lifts.add_row(f"{metric} {float(lift):+.0%}", _percent(shares["found"]), day, *last)
    shares = _table("users in control, for 50 %", "warned of")
    for share, warned in record["shares_warned_of"].items():
        shares.add_row(f"{float(share):.1%}", _percent(warned))
    return [alarms, lifts, shares]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left")
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"

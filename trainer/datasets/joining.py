"""Says how many ids of one input are in another, and why they are not where few are."""

from collections.abc import Callable

import polars as pl

from index.errors import InputError

FEW = 0.5  # a smaller share is explained
DIFFERENCES: dict[str, Callable[[pl.Series], pl.Series]] = {
    "leading zeros": lambda ids: ids.str.strip_chars_start("0"),
    "a .0 at the end": lambda ids: ids.str.replace(r"\.0+$", ""),
    "upper and lower case": lambda ids: ids.str.to_lowercase(),
    "letters around their digits": lambda ids: ids.str.extract(r"^\D*?0*(\d+)(?:\.0+)?\D*$"),
}


def meeting_note(what: str, ids: pl.Series, described: pl.Series, where: str) -> str:
    """The share of `ids` that are among `described`; InputError, with an example of each side, where none is.

    `what` and `where` say in words whose ids they are, for instance "items of the interactions" and "in items.csv".
    """
    wanted, found = (each.drop_nulls().unique(maintain_order=True).cast(pl.String) for each in (ids, described))
    missing = wanted.filter(~wanted.is_in(found.implode()))
    met = len(wanted) - len(missing)
    share = f"{met:,} of the {len(wanted):,} {what} are {where}"
    if met >= FEW * len(wanted):
        return share
    there = f"there is {found[0]!r}" if len(found) else "nothing is there"
    explained = f"{share}; {missing[0]!r} is missing, {there}{_difference(missing, found)}"
    if met == 0:
        raise InputError(explained.replace("0 of", "none of", 1))
    return explained


def without_point(ids: pl.Series, described: pl.Series) -> pl.Series:
    """The ids, those that `described` has with another ".0" at the end as it has them."""
    known = pl.DataFrame({"described": described.drop_nulls().unique(maintain_order=True)})
    known = known.with_columns(plain=_whole(known["described"])).unique("plain", keep="none").drop_nulls()
    missing = pl.DataFrame({"id": ids.drop_nulls().unique().cast(pl.String)}).filter(
        ~pl.col("id").is_in(described.implode())
    )
    pairs = missing.with_columns(plain=_whole(missing["id"])).join(known, on="plain")
    if pairs.is_empty():
        return ids
    return ids.cast(pl.String).replace(pairs["id"], pairs["described"]).cast(ids.dtype)


def _whole(ids: pl.Series) -> pl.Series:
    return ids.str.extract(r"^(-?\d+)(?:\.0+)?$")


def _difference(missing: pl.Series, found: pl.Series) -> str:
    """What has to be left out of the ids for most of the missing to be found."""
    for what, without in DIFFERENCES.items():
        ours = pl.DataFrame({"id": missing, "plain": without(missing)})
        theirs = pl.DataFrame({"other": found, "plain": without(found)})
        pairs = ours.join(theirs, on="plain", maintain_order="left")
        if pairs["id"].n_unique() >= FEW * len(missing):
            return f"; they differ in {what}, as {pairs['id'][0]!r} and {pairs['other'][0]!r} do"
    return ""

"""What is left of differences in sharpness where something else is held equal, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.explanations.remains import APPEARS, NOT_SEEN, REMAINS, TOO_FEW, TURNED, side_of
from sharpscope.analysis.results import StudyResults, TableRow, records
from sharpscope.analysis.wording import fewer, joined, label_of, like_text, no_ratio

_SHARPNESS = ("sharper", "flatter")


def sharp_differences(results: StudyResults, family: pd.DataFrame) -> pd.DataFrame:
    """Return the significant differences in the sharpness of the models themselves at the end of training."""
    facts = family["quantity"].map(
        lambda name: not (results.quantities[name].matched_loss or results.quantities[name].twin)
    )
    return family[facts.astype(bool) & family["significant"] & family["verdict"].isin(_SHARPNESS)]


def by_place(results: StudyResults, rows: pd.DataFrame) -> dict[tuple[str, str], TableRow]:
    """Return the rows of a table that has one for each quantity and level, by these."""
    return {(row["quantity"], row[results.factor.name]): row for row in records(rows)}


def told_left(
    results: StudyResults,
    real: pd.DataFrame,
    found: Mapping[tuple[str, str], TableRow],
    how: Mapping[str, str],
) -> tuple[list[str], list[str]]:
    """Return what is left of the differences of each level, like levels together, and the levels not known.

    Args:
        results: What the study found.
        real: The differences at the end of training.
        found: What is left of each, by quantity and level.
        how: What is said of a number besides, by where it was found.
    """
    factor = results.factor
    parts: dict[str, list[str]] = {}
    for level, rows in real.groupby(factor.name, sort=False):
        left = [_beside(found[key], end) for end in records(rows) if (key := (end["quantity"], str(level))) in found]
        parts.setdefault(_left(results, left, how), []).append(str(level))
    unknown = parts.pop("", [])
    told = [
        f"{factor.told(*levels, again=number > 0)} {_agreeing(text, len(levels))}"
        for number, (text, levels) in enumerate(parts.items())
    ]
    return told, unknown


def _beside(row: TableRow, end: TableRow) -> TableRow:
    """Return what is left of a significant difference, with the seeds that this one has.

    Its mean may differ where its interval holds equality, so that what appears on the other side has turned.
    """
    same = 1.0 if end["scale"] == "ratio" else 0.0
    before = end["difference"] - same
    opposite = row["became"] == APPEARS and before * side_of(row) < 0
    return {**row, "seeds": end["n"], **({"became": TURNED} if opposite else {})}


def share_text(row: TableRow) -> str:
    """Return the share that is left with its interval, "40% [32, 47]"; empty where there is none."""
    if not math.isfinite(row["retained"]):
        return ""
    return numbers.percentage(*(row[end] for end in ("retained", "retained_low", "retained_high")))


def left_cells(row: TableRow | None, seeds: int, *, undefined: str = "") -> dict[str, str]:
    """Return what is left of a difference at one place as the page shows it: the difference, its share, what became.

    Args:
        row: What is left; None where nothing was found.
        seeds: How many the difference at the end has.
        undefined: What stands for the share of a difference that may be zero.
    """
    if row is None or not row["n"]:
        return {"difference": numbers.MISSING, "retained": "", "became": ""}
    # What is told by differences has no share of a ratio, whatever that at the end is.
    share = share_text(row) or ("" if math.isfinite(row["end_difference"]) else undefined)
    less = fewer(row, seeds)
    return {"difference": f"{like_text(row)}{less and f' ({less})'}", "retained": share, "became": row["became"]}


def _agreeing(text: str, levels: int) -> str:
    """Return a predicate with its words in the number of its subject."""
    one = levels == 1
    words = {"{s}": ("s", ""), "{its}": ("its", "their"), "{has}": ("has", "have")}
    for mark, (single, plural) in words.items():
        text = text.replace(mark, single if one else plural)
    return text


def _left(results: StudyResults, rows: list[TableRow], how: Mapping[str, str]) -> str:
    """Return what is left of one level's differences; empty where that cannot be told.

    {s} is for the ending of verbs, {has} for that verb, and {its} for whose a difference is. Measures are named where
    they do not agree. The sections have every number with its interval.
    """
    kept, turned, gone = (
        [row for row in rows if row["became"] in outcomes] for outcomes in ((REMAINS, APPEARS), (TURNED,), (NOT_SEEN,))
    )
    phrases = []
    if kept:
        phrases.append(_kept(results, kept, how, alone=len(kept) == len(rows)))
    if turned:
        phrases.append(f"turn{{s}} around by {joined([_value(results, row, how) for row in turned])}")
    few = [row for row in rows if row["became"] == TOO_FEW]
    if gone:
        by = f" by {_names(results, gone)}" if phrases else ""
        phrases.append(f"show{{s}} {'none' if kept else 'no difference'}{by}{_besides(gone, how)}")
    if few:
        by = f" by {_names(results, few)}" if phrases else ""
        phrases.append(f"{{has}} too few seeds to tell{by}{_besides(few, how)}")
    return ", and ".join(filter(None, [", ".join(phrases[:-1]), *phrases[-1:]]))


def _kept(results: StudyResults, rows: list[TableRow], how: Mapping[str, str], *, alone: bool) -> str:
    shares = sorted((row for row in rows if math.isfinite(row["retained"])), key=lambda row: float(row["retained"]))
    others = [_value(results, row, how) for row in rows if not math.isfinite(row["retained"])]
    parts = [f"a difference by {joined(others)}"] if others else []
    if shares:
        least, greatest = (numbers.percent(row["retained"]) for row in (shares[0], shares[-1]))
        share = share_text(shares[0]) if len(shares) == 1 else f"{least} to {greatest}"
        own = f"{{its}} difference{'' if len(shares) == 1 else 's'} by {_names(results, shares)}"
        of = "the difference" if alone and not others else own
        parts.insert(0, f"{share} of {of}{_besides(shares, how)}")
    return f"keep{{s}} {joined(parts)}"


def _names(results: StudyResults, rows: list[TableRow]) -> str:
    return joined([label_of(results, row["quantity"]) for row in rows])


def _besides(rows: list[TableRow], how: Mapping[str, str]) -> str:
    told = dict.fromkeys(text for row in rows if (text := _how_told(row, how)))
    return f" ({joined(list(told))})" if told else ""


def _how_told(row: TableRow, how: Mapping[str, str]) -> str:
    """Return what is said of a number besides: where it was found, and of how many seeds where they are fewer."""
    less = fewer(row, row["seeds"])
    return ", ".join(filter(None, [how.get(row["at"], ""), less and f"in {less}"]))


def _value(results: StudyResults, row: TableRow, how: Mapping[str, str]) -> str:
    change = like_text(row, results.quantities[row["quantity"]].unit)
    besides = f", {told}" if (told := _how_told(row, how)) else ""
    why = f", since {no_ratio(row['not_positive'], row['values'])}" if math.isfinite(row["end_difference"]) else ""
    return f"{label_of(results, row['quantity'])} ({change}{besides}{why})"


def told_unlike(results: StudyResults, table: pd.DataFrame, places: Mapping[str, str]) -> list[str]:
    """Return of which quantities ratios are given up where, and what is told instead, in sentences.

    Args:
        results: What the study found.
        table: What is left of differences, with ``end_difference``.
        places: How a place is told; "train loss" and its value where it is not there.
    """
    unlike = table[table["end_difference"].notna()].drop_duplicates(["quantity", "at"])
    sentences = []
    for row in records(unlike):
        label, place = results.quantities[row["quantity"]].label, places.get(row["at"], f"train loss {row['at']}")
        why = no_ratio(row["not_positive"], row["values"])
        sentences.append(f"{label} is told by differences at {place}, since {why}; that at the end stands beside.")
    return sentences

"""What a study found, in plain sentences that say no more than its statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.headline import told_dose, trend_seen
from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.explanations.complexity import Complexity
from sharpscope.analysis.explanations.complexity import complexity as complexity_of
from sharpscope.analysis.explanations.confidence import confidence_table
from sharpscope.analysis.explanations.loss import remains_table
from sharpscope.analysis.explanations.told_complexity import told_complexity
from sharpscope.analysis.explanations.told_confidence import told_confidence
from sharpscope.analysis.explanations.told_loss import told_loss
from sharpscope.analysis.results import StudyResults, TableRow, records
from sharpscope.analysis.same_runs import same_levels, told_same
from sharpscope.analysis.tested import ALPHA, PRIMARY, REPEATED
from sharpscope.analysis.told_intervals import told_carried, told_intervals
from sharpscope.analysis.told_relations import told_relations
from sharpscope.analysis.wording import counted, difference_text, joined, label_of

_MOST_LISTED = 3  # differences that are told by their names; more are counted


@dataclass(frozen=True)
class Findings:
    """The findings in words.

    Attributes:
        lead: One sentence, one each on what is left of differences in sharpness at equal loss and confidence, and one
            on what complexity explains.
        sentences: What supports and limits it, to be read as one paragraph after the lead.
        by_level: For each level of the factor but the reference, what is significantly different.
        unconverged: Which values did not reach their precision; empty where all did.
    """

    lead: tuple[str, ...]
    sentences: tuple[str, ...] = ()
    by_level: tuple[tuple[str, str], ...] = ()
    unconverged: str = ""

    @property
    def headline(self) -> str:
        """The lead as one paragraph."""
        return " ".join(self.lead)


def find(
    results: StudyResults,
    contrasts: pd.DataFrame,
    correlations: pd.DataFrame,
    remains: pd.DataFrame | None = None,
    confidence: pd.DataFrame | None = None,
    complexity: Complexity | None = None,
    dose: pd.DataFrame | None = None,
) -> Findings:
    """Return the findings of a study.

    Args:
        results: What the study found.
        contrasts: Its differences over all settings; see ``contrasts_table``.
        correlations: See ``correlations_table``.
        remains: What is left of differences at equal train loss, where it is known already; see ``remains_table``.
        confidence: What is left of them at equal confidence, where it is known already; see ``confidence_table``.
        complexity: What complexity has to do with it, where it is known already; see ``Complexity``.
        dose: How quantities move along levels that have an order, where it is known already; see ``dose_table``.
    """
    dose = dose_table(results) if dose is None else dose
    remains = remains_table(results, contrasts) if remains is None else remains
    confidence = confidence_table(results) if confidence is None else confidence
    found = _find(results, contrasts, correlations, remains, confidence, complexity, dose)
    changed = ("The primary family was changed after the study first ran.",) if results.primary_changed else ()
    same = tuple(filter(None, [told_same(results)]))
    return replace(found, sentences=(*same, *found.sentences, *changed), unconverged=_unconverged(results))


def _find(
    results: StudyResults,
    contrasts: pd.DataFrame,
    correlations: pd.DataFrame,
    remains: pd.DataFrame,
    confidence: pd.DataFrame,
    complexity: Complexity | None,
    dose: pd.DataFrame,
) -> Findings:
    done = int((results.ledger["state"] == "done").sum())
    if not results.measured:
        return Findings((f"None of the {len(results.ledger)} runs finished, so there is nothing to compare.",))
    factor, runs = results.factor, results.runs
    reference = factor.told(factor.reference)
    if not ((runs[factor.name] == factor.reference) & (runs["state"] == "done")).any():
        headline = f"No run of {reference}, the reference, has finished, so no {factor.noun} is compared with it."
        return Findings((headline,), told_relations(results, correlations))
    if len(results.levels) == 1:
        runs_told = f"{counted(done, 'run')} of one {factor.noun}, {factor.told(*results.levels)}"
        settings = " Its settings are described, not tested against each other." if results.keys else ""
        headline = f"The study has {runs_told}, so there is no other {factor.noun} to compare it with.{settings}"
        return Findings((headline,), told_relations(results, correlations))
    told = told_relations(results, correlations)
    family = contrasts[contrasts["family"] == PRIMARY]
    name = "primary family"
    if family.empty:
        family, name = contrasts[contrasts["family"] != REPEATED], "comparisons"
    if family.empty and len(contrasts):
        headline = f"All {factor.noun}s of the study are the same runs, so there is nothing to compare."
        return Findings((headline,), told)
    untested = _untested(results, family)
    family = family[family["p"].notna()]
    if family.empty:
        return Findings((f"No seed finished in two {factor.noun}s, so no comparison could be tested.",), untested)
    limits = (*untested, *_left_out(results, family))
    apart = tuple(filter(None, [told_intervals(family, len(family)), *told_carried(results, family)]))
    if not (family["p_adjusted_smallest"] <= ALPHA).any():
        return Findings((_unreachable(family, name),), (*apart, *limits, *told))
    of_levels = {str(level): _of_level(results, rows) for level, rows in family.groupby(factor.name, sort=False)}
    of_levels |= {level: f"the same runs as {factor.told(first)}." for level, first in same_levels(results).items()}
    by_level = tuple((level, of_levels[level]) for level in results.levels if level in of_levels)
    moved, at_equal_loss, at_equal_confidence = told_dose(results, dose)
    # Levels may differ without a trend; where there is one, nothing names what they are compared with.
    levels = "" if trend_seen(dose) else f"{_headline(results, family)}{_qualified(results, family)}"
    against = "" if levels else f"compared with {reference}"
    left = (
        at_equal_loss or told_loss(results, family, remains, against),
        at_equal_confidence or told_confidence(results, family, confidence, against),
        told_complexity(results, family, complexity or complexity_of(results)),
    )
    # What moved, and its controls each by itself: they are to be read as well as it is.
    lead = (" ".join(filter(None, (moved, levels))), *filter(None, left))
    return Findings(lead, (_counts(family, name), *apart, *limits, *told), by_level)


def _unconverged(results: StudyResults) -> str:
    """Return how many values did not reach their precision, and yet enter means, tests and correlations."""
    counts = {name: int(results.unconverged(name).sum()) for name in results.measured}
    parts = [
        f"{count} of {counted(int(results.ledger[name].count()), 'value')} of {label_of(results, name)}"
        for name, count in counts.items()
        if count
    ]
    return f"{joined(parts)} did not reach their precision and are used as they are." if parts else ""


def _unreachable(family: pd.DataFrame, name: str) -> str:
    differ = family["n"] - family["zeros"]
    if not differ.any():
        return f"No difference could be significant: all values of the {name} equal those of their reference."
    n = int(differ.max())
    seeds = counted(n, "seed") if n == family["n"].max() else f"{counted(n, 'pair')} that differ"
    p, adjusted = (numbers.p_value(family[c].min()) for c in ("p_smallest", "p_adjusted_smallest"))
    corrected = f", and {adjusted} after correction of the {name} ({counted(len(family), 'test')})"
    return (
        f"No difference could be significant: with {seeds} the smallest p that a test can reach is {p}"
        f"{corrected if adjusted != p else ''}. "
        "Values and intervals describe these runs; more seeds would be needed to test."
    )


def _untested(results: StudyResults, family: pd.DataFrame) -> tuple[str, ...]:
    """Return which levels are not compared at all, since no seed finished both there and in the reference."""
    factor = results.factor
    nothing = family.groupby(factor.name, sort=False)["p"].count()
    levels = [str(level) for level in nothing.index[nothing == 0]]
    if not levels:
        return ()
    done = set(results.runs.loc[results.runs["state"] == "done", factor.name])
    none = [level for level in levels if level not in done]
    apart = [level for level in levels if level in done]
    told = []
    if none:
        told.append(
            f"No run of {factor.told(*none)} finished, so nothing is said of {'it' if len(none) == 1 else 'them'}."
        )
    if apart:
        told.append(f"No seed finished both in {factor.told(*apart)} and in the reference, so they are not compared.")
    return tuple(told)


def _left_out(results: StudyResults, family: pd.DataFrame) -> tuple[str, ...]:
    """Return which runs are missing from contrasts of the family, and where ratios were given up."""
    sentences = []
    for column, noun, between in (("seeds_left_out", "seed", ", "), ("settings_left_out", "setting", "; ")):
        levels = family[family[column] != ""].groupby(column, sort=False)[results.factor.name].unique()
        for left_out, among in levels.items():
            of = results.factor.told(*map(str, among))
            which = f"these {noun}s are" if between in str(left_out) else f"this {noun} is"
            sentences.append(f"Where runs of {of} or of the reference are missing, {which} left out: {left_out}.")
    given_up = family[family["not_positive"] > 0].groupby("quantity", sort=False)["not_positive"].first()
    for name, count in given_up.items():
        values = f"{counted(int(count), 'value')} of {label_of(results, str(name))} {'is' if count == 1 else 'are'}"
        sentences.append(f"{values} not above zero, so differences are shown instead of ratios.")
    return tuple(sentences)


def _headline(results: StudyResults, family: pd.DataFrame) -> str:
    real = family[family["significant"]]
    factor = results.factor
    if real.empty:
        tested = "the one comparison" if len(family) == 1 else f"any of the {len(family)} comparisons"
        unable = [str(level) for level, rows in family.groupby(factor.name, sort=False) if _unable(rows)]
        none = f" In {factor.told(*unable)} none could be significant: too few seeds are there." if unable else ""
        return f"No {factor.each} differs significantly from {factor.reference} in {tested} tested.{none}"
    alike: dict[str, list[str]] = {}
    for level, rows in family.groupby(factor.name, sort=False):
        found = set(rows.loc[rows["significant"], "verdict"])
        alike.setdefault("few" if _unable(rows) else _difference(found), []).append(str(level))
    parts = [
        f"{factor.told(*levels, again=True)} {_predicate(difference, len(levels))}"
        for difference, levels in alike.items()
    ]
    return f"Compared with {factor.told(factor.reference)}, {'; '.join(parts)}."


def _qualified(results: StudyResults, family: pd.DataFrame) -> str:
    """Return what takes something back from significant differences, as sentences after that on levels."""
    return f"{_not_everywhere(results, family)}{_within_margin(results, family)}"


def _within_margin(results: StudyResults, family: pd.DataFrame) -> str:
    """Return which significant differences are smaller than what the study says matters."""
    real = records(family[family["significant"]])
    rows = [row for row in real if row["equivalent"] is True]
    if not rows:
        return ""
    are = "is" if len(rows) == 1 else "are"
    which = f"{len(rows)} of the {len(real)} significant differences {are}"
    if len(rows) == len(real):
        which = "The significant difference is" if len(real) == 1 else "All significant differences are"
    listed = joined(
        [f"{row[results.factor.name]} by {label_of(results, row['quantity'])}" for row in rows[:_MOST_LISTED]]
    )
    return f" {which} smaller than the margin of the study{f': {listed}' if len(rows) <= _MOST_LISTED else ''}."


def _not_everywhere(results: StudyResults, family: pd.DataFrame) -> str:
    """Return which significant differences go another way in some settings, as a sentence after that on levels."""
    real = family[family["significant"]]
    rows = records(real[real["same_direction"] < real["settings"]])
    if not rows:
        return ""
    if len(rows) > _MOST_LISTED:
        least = min(rows, key=lambda row: row["same_direction"] / row["settings"])
        told = f"{len(rows)} of the {len(real)} significant differences do not have their direction in all of them"
        return f" Not in all settings: {told}, that which agrees the least {_of_settings(least)}."
    level = results.factor.name
    parts = [
        f"by {label_of(results, row['quantity'])} {row[level]} differs in that direction {_of_settings(row)}"
        for row in rows
    ]
    return f" Not in all settings: {joined(parts)}."


def _of_settings(row: TableRow) -> str:
    return f"in {row['same_direction']} of {row['settings']}"


def _unable(rows: pd.DataFrame) -> bool:
    """Return whether no difference of a level could be significant, by its seeds and not for being none."""
    return bool((rows["p_adjusted_smallest"] > ALPHA).all() and (rows["zeros"] < rows["n"]).any())


def _predicate(difference: str, levels: int) -> str:
    one = levels == 1
    if not difference:
        return f"{'does' if one else 'do'} not differ significantly"
    if difference == "few":
        return f"{'has' if one else 'have'} too few seeds for any difference to be significant"
    if difference == "other":
        return f"{'differs' if one else 'differ'} without being better or sharper"
    return f"{'has' if one else 'have'} {difference}"


def _difference(verdicts: set[str]) -> str:
    """Return what significant differences amount to, in words; empty for none, "other" where none has a direction."""
    if not verdicts:
        return ""
    phrases = []
    for positive, negative, noun in (("sharper", "flatter", "minima"), ("better", "worse", "scores")):
        found = [word for word in (positive, negative) if word in verdicts]
        if len(found) == 2:
            phrases.append(f"{noun} that are {positive} by one quantity and {negative} by another")
        elif found:
            phrases.append(f"significantly {found[0]} {noun}")
    return " and ".join(phrases) or "other"


def _counts(family: pd.DataFrame, name: str) -> str:
    real = family[family["significant"]]
    correction = family["correction"].iloc[0]
    which = f"of the {name}" if name == "primary family" else "made"
    if len(family) == 1:
        told = f"The one comparison {which} is {'not ' if real.empty else ''}significant"
    else:
        are = "are" if len(real) > 1 else "is"
        told = f"{len(real) or 'None'} of the {len(family)} comparisons {which} {are} significant"
    return f"{told} at {ALPHA:g} after the correction of {correction}{_at_the_floor(real)}."


def _at_the_floor(real: pd.DataFrame) -> str:
    """Return how many p-values are the smallest that the seeds allow, where there are several."""
    least = real["p_adjusted_smallest"].min()
    there = int((real["p_adjusted"] <= least * (1 + 1e-9)).sum())
    if there < 2:
        return ""
    told = "all" if there == len(real) else str(there)
    seeds = counted(int((real["n"] - real["zeros"]).max()), "seed")
    return f"; {told} of them have p\u00a0=\u00a0{numbers.p_value(least)}, the smallest that {seeds} allow"


def _of_level(results: StudyResults, rows: pd.DataFrame) -> str:
    real, rest = rows[rows["significant"]], rows[~rows["significant"]]
    none = "too few seeds for a significant difference" if _unable(rows) else "no significant difference in this family"
    phrases = [_phrase(results, row) for row in records(real)] or [none]
    same = [label_of(results, row["quantity"]) for row in records(rest) if row["equivalent"] is True]
    if same:
        phrases.append(f"equivalent by the margin of the study: {joined(same)}")
    seen = [
        f"{numbers.at_least(row['scale'], row['detectable'])} or more of {label_of(results, row['quantity'])}"
        for row in records(rest)
        if math.isfinite(row["detectable"]) and row["equivalent"] is not True
    ]
    if seen:
        phrases.append(f"could have seen a difference of {joined(seen)}")
    return "; ".join(phrases) + "."


def _agreeing(row: TableRow) -> str:
    """Return how many seeds go the same way, ties told: "9 of 10 seeds", "9 of the 10 seeds that differ, of 100"."""
    # Those that go the way of the difference, which a few that lie far off may decide against most.
    differ, n = row["differ"], row["n"]
    agreeing = row["risen"] if row["effect"] > 0 else differ - row["risen"]
    if differ == n:
        return f"{agreeing} of {counted(n, 'seed')}"
    return f"{'all' if agreeing == differ else f'{agreeing} of the'} {differ} seeds that differ, of {n}"


def _phrase(results: StudyResults, row: TableRow) -> str:
    """Return one significant difference: "sharper by SAM sharpness (×1.4 [1.2, 1.6], p = 0.002, 10 of 10 seeds)"."""
    link = " by" if row["verdict"] in ("sharper", "flatter") else ""
    difference = difference_text(row)
    told = [
        difference,
        f"p\u00a0=\u00a0{numbers.p_value(row['p_adjusted'])}",
        _agreeing(row),
    ]
    if row["equivalent"] is True:
        told.append("smaller than the margin of the study")
    if row["settings"] > 1:
        differ = row["p_heterogeneity"] <= ALPHA
        besides = f", which differ in size at p\u00a0=\u00a0{numbers.p_value(row['p_heterogeneity'])}" if differ else ""
        told.append(f"{row['same_direction']} of {row['settings']} settings{besides}")
    return f"{row['verdict']}{link} {label_of(results, row['quantity'])} ({', '.join(told)})"

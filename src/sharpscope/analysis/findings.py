"""What a study found, in plain sentences that say no more than its statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.comparisons import ALPHA, PRIMARY
from sharpscope.analysis.correlations import POOLED, WITHIN
from sharpscope.analysis.results import StudyResults, TableRow, by, records, split

# Outcomes whose relation to sharpness is told in words, the first of them that were measured.
_OUTCOMES = ("generalization_gap", "r2_gap", "ece", "test_accuracy", "test_r2")
_TOLD = 2

_PERSONS = ("Brier", "Fisher", "Gauss", "Hessian")


@dataclass(frozen=True)
class Findings:
    """The findings in words.

    Attributes:
        headline: One sentence.
        sentences: What supports and limits it, to be read as one paragraph after the headline.
        by_level: For each level of the factor but the reference, what is significantly different.
        unconverged: Which values did not reach their precision; empty where all did.
    """

    headline: str
    sentences: tuple[str, ...] = ()
    by_level: tuple[tuple[str, str], ...] = ()
    unconverged: str = ""


def find(results: StudyResults, comparisons: pd.DataFrame, correlations: pd.DataFrame) -> Findings:
    """Return the findings of a study, from its tables alone."""
    found = _find(results, comparisons, correlations)
    changed = ("The primary family was changed after the study first ran.",) if results.primary_changed else ()
    return replace(found, sentences=(*found.sentences, *changed), unconverged=_unconverged(results))


def _find(results: StudyResults, comparisons: pd.DataFrame, correlations: pd.DataFrame) -> Findings:
    done = int((results.ledger["state"] == "done").sum())
    if not results.measured:
        return Findings(f"None of the {len(results.ledger)} runs finished, so there is nothing to compare.")
    factor, runs = results.factor, results.runs
    reference = factor.told(factor.reference)
    if not ((runs[factor.name] == factor.reference) & (runs["state"] == "done")).any():
        headline = f"No run of {reference}, the reference, has finished, so no {factor.noun} is compared with it."
        return Findings(headline, _relations(results, correlations))
    if len(results.levels) == 1:
        counted = f"{_count(done, 'run')} of one {factor.noun}, {factor.told(*results.levels)}"
        settings = " Its settings are described, not tested against each other." if results.keys else ""
        headline = f"The study has {counted}, so there is no other {factor.noun} to compare it with.{settings}"
        return Findings(headline, _relations(results, correlations))
    told = (*at_matched_loss(results, comparisons), *_relations(results, correlations))
    family = comparisons[comparisons["family"] == PRIMARY]
    name = "primary family"
    if family.empty:
        family, name = comparisons, "comparisons"
    family = family[family["p"].notna()]
    if family.empty:
        return Findings(f"No seed finished in two {factor.noun}s, so no comparison could be tested.")
    if not (family["p_adjusted_smallest"] <= ALPHA).any():
        tests = int(family.groupby(results.keys, dropna=False).size().max()) if results.keys else len(family)
        return Findings(_unreachable(family, name, tests), told)
    by_level = tuple((str(level), _of_level(results, rows)) for level, rows in family.groupby(factor.name, sort=False))
    return Findings(_headline(results, family), (_counts(family, name), *told), by_level)


def _unconverged(results: StudyResults) -> str:
    """Return how many values did not reach their precision, and yet enter means, tests and correlations."""
    counts = {name: int(results.unconverged(name).sum()) for name in results.measured}
    parts = [
        f"{count} of {_count(int(results.ledger[name].count()), 'value')} of {_label(results, name)}"
        for name, count in counts.items()
        if count
    ]
    return f"{_join(parts)} did not reach their precision and are used as they are." if parts else ""


def _unreachable(family: pd.DataFrame, name: str, tests: int) -> str:
    differ = family["n"] - family["zeros"]
    if not differ.any():
        return f"No difference could be significant: all values of the {name} equal those of their reference."
    n = int(differ.max())
    seeds = _count(n, "seed") if n == family["n"].max() else f"{_count(n, 'pair')} that differ"
    p, adjusted = (numbers.p_value(family[c].min()) for c in ("p_smallest", "p_adjusted_smallest"))
    return (
        f"No difference could be significant: with {seeds} the smallest p that a test can reach is {p}, "
        f"and {adjusted} after correction of the {name} ({_count(tests, 'test')}). "
        "Values and intervals describe these runs; more seeds would be needed to test."
    )


def _headline(results: StudyResults, family: pd.DataFrame) -> str:
    real = family[family["significant"]]
    factor = results.factor
    if real.empty:
        tested = "the one comparison" if len(family) == 1 else f"any of the {len(family)} comparisons"
        return f"No {factor.each} differs significantly from {factor.reference} in {tested} tested."
    alike: dict[str, list[str]] = {}
    for level, rows in family.groupby(factor.name, sort=False):
        found = set(rows.loc[rows["significant"], "verdict"])
        alike.setdefault(_difference(found), []).append(str(level))
    parts = [f"{factor.told(*levels)} {_predicate(difference, len(levels))}" for difference, levels in alike.items()]
    return f"Compared with {factor.told(factor.reference)}, {'; '.join(parts)}."


def _predicate(difference: str, levels: int) -> str:
    one = levels == 1
    if not difference:
        return f"{'does' if one else 'do'} not differ significantly"
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
    real = int(family["significant"].sum())
    correction = family["correction"].iloc[0]
    which = f"of the {name}" if name == "primary family" else "made"
    if len(family) == 1:
        told = f"The one comparison {which} is {'' if real else 'not '}significant"
    else:
        are = "are" if real > 1 else "is"
        told = f"{real or 'None'} of the {len(family)} comparisons {which} {are} significant"
    return f"{told} at {ALPHA:g} after the correction of {correction}."


def _of_level(results: StudyResults, rows: pd.DataFrame) -> str:
    real = rows[rows["significant"]]
    if real.empty:
        return "no significant difference in this family."
    if results.keys:
        total = rows.groupby("quantity")["p"].count().to_dict()
        phrases = []
        for cell, part in split(real, ["quantity", "verdict"]):
            settings = f"{len(part)} of {total[cell['quantity']]} settings"
            phrases.append(f"{cell['verdict']} {_label(results, cell['quantity'])} in {settings}")
    else:
        phrases = [_phrase(results, row) for row in records(real)]
    return "; ".join(phrases) + "."


def _phrase(results: StudyResults, row: TableRow) -> str:
    """Return one significant difference: "sharper by relative flatness (+1.4 [+1.0, +1.8], p = 0.049)"."""
    link = " by" if row["verdict"] in ("sharper", "flatter") else ""
    difference = numbers.with_interval(row["difference"], row["ci_low"], row["ci_high"], sign=True)
    p = numbers.p_value(row["p_adjusted"])
    return f"{row['verdict']}{link} {_label(results, row['quantity'])} ({difference}, p\u00a0=\u00a0{p})"


def at_matched_loss(results: StudyResults, comparisons: pd.DataFrame) -> tuple[str, ...]:
    """Return, for each matched train loss, how many differences in sharpness are there as they are at the end."""
    columns = [name for name, quantity in results.quantities.items() if quantity.kind == "sharpness"]
    tested = comparisons[comparisons["quantity"].isin(columns) & (comparisons["n"] > 0)]
    tested = tested.assign(
        base=tested["quantity"].map(lambda name: results.quantities[name].base),
        loss=tested["quantity"].map(lambda name: results.quantities[name].matched_loss),
    )
    at_end, cells = tested[tested["loss"] == ""], [*results.keys, results.factor.name, "base"]
    sentences = []
    for loss in results.losses:
        both = at_end.merge(tested[tested["loss"] == loss], on=cells, suffixes=("", "_there"))
        if not both.empty:
            same = both["verdict"] == both["verdict_there"]
            sentences.append(_kept(loss, results.factor.told(results.reference), both.assign(same=same)))
    return tuple(sentences)


def _kept(loss: str, reference: str, both: pd.DataFrame) -> str:
    alike = f"{int(both['same'].sum())} of {_count(len(both), 'difference')} in sharpness to {reference}"
    sentence = f"At train loss {loss}, {alike} have the direction that they have at the end of training"
    real = both[both["significant"]]
    if real.empty:
        return f"{sentence}; none is significant at the end."
    there = real[real["significant_there"]]
    kept, turned = int(there["same"].sum()), int((~there["same"]).sum())
    opposite = f" and {turned} in the opposite one" if turned else ""
    return (
        f"{sentence}; of the {len(real)} that are significant at the end, {kept or 'none'} "
        f"{'is' if kept == 1 else 'are'} so there too in the same direction{opposite}."
    )


def _relations(results: StudyResults, correlations: pd.DataFrame) -> tuple[str, ...]:
    """Return how the first primary sharpness moves with what the function is worth, pooled and within levels."""
    sharp = results.of_kind("sharpness")
    measures = [name for name in results.primary if name in sharp] or sharp
    outcomes = [outcome for outcome in _OUTCOMES if outcome in results.measured][:_TOLD]
    if not measures:
        return ()
    sentences: list[str] = []
    nouns = f"{results.factor.noun}s"
    for outcome in outcomes:
        rows = correlations[(correlations["measure"] == measures[0]) & (correlations["quantity"] == outcome)]
        by_scope = by(rows, "scope")
        pooled, within = by_scope[POOLED], by_scope[WITHIN]
        if not (math.isfinite(pooled["ci_low"]) and math.isfinite(within["ci_low"])):
            continue
        names = f"{_label(results, measures[0])} and {_label(results, outcome)}"
        if len(results.levels) == 1:
            sentences.append(f"Over runs, {names} correlate at ρ\u00a0=\u00a0{_rho(pooled)}.")
            continue
        over_all = f"Over all runs, {names} correlate at ρ\u00a0=\u00a0{_rho(pooled)}"
        sentences.append(
            f"{over_all}; within {nouns}, at ρ\u00a0=\u00a0{_rho(within)}{_reading(pooled, within, nouns)}."
        )
    return tuple(sentences)


def _rho(row: TableRow) -> str:
    return numbers.correlation(row["spearman"], row["ci_low"], row["ci_high"])


def excludes_zero(row: TableRow) -> bool:
    """Return whether the interval of a correlation lies on one side of zero."""
    return bool(row["ci_low"] > 0 or row["ci_high"] < 0)


def _reading(pooled: TableRow, within: TableRow, nouns: str) -> str:
    if not excludes_zero(pooled):
        return "; both intervals hold zero" if not excludes_zero(within) else ""
    if not excludes_zero(within):
        return f", so the relation may be one between {nouns} only"
    if pooled["spearman"] * within["spearman"] < 0:
        return ", the opposite direction"
    return ", the same direction"


def _label(results: StudyResults, name: str) -> str:
    label = results.quantities[name].label
    # Acronyms as well as names keep their capital: "SAM sharpness", "Hessian trace".
    return label if label[1:2].isupper() or label.startswith(_PERSONS) else label[:1].lower() + label[1:]


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"

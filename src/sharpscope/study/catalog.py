"""The columns of the ledger: their names, and the facts that a report tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sharpscope.condition import Chosen, ConditionFacts
from sharpscope.curvature.measure import MEASURES
from sharpscope.data.conditions import facts_of
from sharpscope.errors import DataError, SpecError, suggest
from sharpscope.registry import Registry
from sharpscope.safety import SCORES
from sharpscope.spec import Point, Study
from sharpscope.store.documents import plain
from sharpscope.store.levels import STEP, column
from sharpscope.store.record import SCHEMA
from sharpscope.store.wishes import Wish, Wishes
from sharpscope.task import Basic, Task

RESERVED = ("run_id", "state", "regime", "seed")
_STEP = {"name": STEP, "kind": "training", "label": "Steps", "unit": "steps", "summary": "Steps of training until then"}


def check_columns(wishes: Wishes, task: Task) -> None:
    """See that every key makes a column of its own.

    Raises:
        SpecError: If a key is taken.
    """
    taken = dict.fromkeys((*RESERVED, *task.basics), "a column that every ledger has")
    for kind, keys in (("measure", wishes.measures), ("score", wishes.scores | wishes.pair_scores)):
        for key in keys:
            for name in (key, f"{key}_stderr", f"{key}_converged") if kind == "measure" else (key,):
                if name in taken:
                    message = f"'{key}' cannot be the key of a {kind}: '{name}' is {taken[name]}"
                    raise SpecError(message, (f"{kind}s", key))
                taken[name] = f"a column of the {kind} '{key}'"
    for level in wishes.levels:
        for key in _keys_at(level, wishes, task):
            if key in taken:
                raise SpecError(f"'{key}' is {taken[key]}, and one at train loss {level}; rename it", ("measures",))


def primary_of(declared: Sequence[str] | None, wishes: Wishes, task: Task) -> tuple[str, ...]:
    """Return the primary family: as declared, or the usual one as far as it is measured.

    Raises:
        SpecError: If a declared quantity is not a column of the ledger.
    """
    known = [*task.basics, *wishes.measures, *wishes.scores, *wishes.pair_scores]
    known += [key for level in wishes.levels for key in _keys_at(level, wishes, task)]
    if declared is None:
        return tuple(name for name in task.primary if name in known)
    family: list[str] = []
    for index, written in enumerate(declared):
        name = task.twins.get(written, written)
        if name not in known:
            message = f"the primary quantity '{name}' is not measured in this study{suggest(name, known)}"
            raise SpecError(message, ("primary", index))
        if name in family:
            raise SpecError(f"the primary quantity '{name}' is listed twice", ("primary", index))
        family.append(name)
    return tuple(family)


def _keys_at(level: str, wishes: Wishes, task: Task) -> list[str]:
    """Return the columns of quantities at a train loss, without those of standard errors."""
    return [column(key, level) for key in (STEP, *task.at_loss, *wishes.measures)]


def catalog_of(study: Study, points: Iterable[Point], wishes: Wishes, task: Task) -> dict[str, Any]:
    """Return the content of ``catalog.json``."""
    quantities = [_basic(name, facts) for name, facts in task.basics.items()]
    quantities += [_measure(key, wanted) for key, wanted in wishes.measures.items()]
    scores = {key: w for key, w in (wishes.scores | wishes.pair_scores).items() if key not in task.twins}
    quantities += [_score(key, wanted, wishes.conditions) for key, wanted in scores.items()]
    quantities += [quantity for level in wishes.levels for quantity in _at_level(level, wishes, task)]
    grid = [
        {
            "run_id": point.run.id,
            "regime": point.run.regime.label,
            "seed": point.run.seed,
            "coordinates": point.coordinates,
        }
        for point in points
    ]
    return {
        "schema": SCHEMA,
        "study": plain(study.model_dump()),
        "default_primary": study.primary == primary_of(None, wishes, task),
        "varying": study.varying,
        "task": task.name,
        "training": list(task.basics),
        "at_loss": [STEP, *task.at_loss],
        **wishes.to_catalog(),
        "quantities": quantities,
        "grid": grid,
    }


def _basic(name: str, facts: Basic) -> dict[str, Any]:
    return {"name": name, **asdict(facts)}


def _at_level(level: str, wishes: Wishes, task: Task) -> Iterator[dict[str, Any]]:
    """Yield the facts of everything at a train loss: those of the same thing at the end, under another name."""
    plain = [_STEP, *(_basic(name, facts) for name, facts in task.basics.items()), _score(task.gap, Wish(task.gap))]
    plain += [_measure(key, wanted) for key, wanted in wishes.measures.items()]
    for facts in plain:
        # How well the training data are fitted is given there, so that more of it is not better.
        given = {"better": None} if facts["kind"] == "training" else {}
        yield {
            **facts,
            **given,
            "name": column(facts["name"], level),
            "label": f"{facts['label']} at train loss {level}",
            "level": level,
        }


def _measure(key: str, wanted: Wish) -> dict[str, Any]:
    facts = MEASURES[wanted.name].facts
    caveats = list(facts.caveats)
    if wanted.subset is not None:
        # It stands before the others: it is of this study, they are of the measure.
        caveats.insert(
            0,
            f"Taken on {wanted.subset:,} training samples at most, the same of every run; the standard error holds "
            "that of this choice.",
        )
    return {
        **_described(MEASURES, key, wanted),
        "kind": facts.kind,
        "sharper_is": None if facts.kind == "control" else facts.sharper_is,
        "symbol": facts.symbol,
        "caveats": caveats,
    }


def _score(key: str, wanted: Wish, conditions: Iterable[str] = ()) -> dict[str, Any]:
    facts = SCORES[wanted.name].facts
    described = {**_described(SCORES, key, wanted), "kind": "score", "better": facts.better}
    corruptions = [name for name in conditions if facts_of(name).kind == "inputs"]
    if facts.conditions is not None and corruptions:
        described["summary"] += _counted(facts.conditions, wanted, corruptions)
    return described


def _counted(chosen: Chosen, wanted: Wish, corruptions: Iterable[str]) -> str:
    """Return how many corruptions of each suite a score is taken over: a study may have several."""
    suites: dict[str, dict[str, ConditionFacts]] = {}
    for name in corruptions:
        suites.setdefault(name.rpartition("/")[0], {})[name] = facts_of(name)
    counts = {suite: _count(chosen, wanted, offered) for suite, offered in suites.items()}
    told = [f"{n} of {suite}" if suite else f"{n} generated ones" for suite, n in counts.items() if n]
    return f"; here these are {' and '.join(told)}" if told else ""


def _count(chosen: Chosen, wanted: Wish, offered: Mapping[str, ConditionFacts]) -> int:
    try:
        return len(chosen(wanted.options, offered))
    except DataError:  # it is taken over conditions of another kind
        return 0


def _described(registry: Registry[Any], key: str, wanted: Wish) -> dict[str, Any]:
    """Return what is told of measures and scores alike."""
    member = registry[wanted.name]
    facts = member.facts
    return {
        "name": key,
        "label": _label(facts.label, key, wanted),
        "unit": facts.unit,
        "summary": member.summary,
        "reference": facts.reference,
    }


def _label(label: str, key: str, wanted: Wish) -> str:
    """Tell a measure or score that stands in the study under a key of its own from the plain one."""
    return label if key == wanted.name else f"{label} ({key})"

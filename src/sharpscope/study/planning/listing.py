"""What there is to choose from, and what a measure or score means, for a reader at a terminal."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sharpscope.errors import UnknownName
from sharpscope.registry import Registration, Registry
from sharpscope.spec import Claim


def _measures() -> Registry:
    # The package of the measures registers them.
    import sharpscope.measurement  # noqa: F401
    from sharpscope.curvature.measure import MEASURES

    return MEASURES


def _scores() -> Registry:
    from sharpscope.safety import SCORES

    return SCORES


def _datasets() -> Registry:
    from sharpscope.data import DATASETS

    return DATASETS


def _conditions() -> Registry:
    from sharpscope.data import CONDITIONS

    return CONDITIONS


def _models() -> Registry:
    from sharpscope.models import MODELS

    return MODELS


def _regimes() -> Registry:
    from sharpscope.training import REGIMES

    return REGIMES


def _executors() -> Registry:
    from sharpscope.study.work.executors import EXECUTORS

    return EXECUTORS


# Each is a function, so that listing one kind imports no other.
REGISTRIES: dict[str, Callable[[], Registry]] = {
    "measures": _measures,
    "scores": _scores,
    "datasets": _datasets,
    "models": _models,
    "regimes": _regimes,
    "conditions": _conditions,
    "executors": _executors,
}


def listing(what: str) -> Mapping[str, str]:
    """Return the names of a list with their summaries.

    Args:
        what: A key of ``REGISTRIES``, "studies" or "claims".

    Raises:
        UnknownName: If there is no such list.
    """
    if what == "studies":
        from sharpscope.study.source.presets import presets

        return presets()
    if what == "claims":
        from sharpscope.study.source.claims import known_claims

        return {name: claim.title for name, claim in known_claims().items()}
    if what not in REGISTRIES:
        raise UnknownName("list", what, [*REGISTRIES, "studies", "claims"])
    registry = REGISTRIES[what]()
    return {name: entry.summary for name, entry in (*registry.items(), *registry.families.items())}


def explanation(name: str) -> str:
    """Return what a measure, score, condition or claim means: definition, units, direction, cost, caveats, reference.

    Raises:
        UnknownName: If none of them has this name.
    """
    for kind, (registry, rows) in _EXPLAINED.items():
        if name in registry():
            entry = registry()[name]
            return "\n".join(_explain(kind, entry, rows(entry.facts)))
    from sharpscope.study.source.claims import known_claims

    claims = known_claims()
    if name in claims:
        return "\n".join(_explain_claim(claims[name]))
    known = [*(n for registry, _ in _EXPLAINED.values() for n in registry()), *claims]
    raise UnknownName("measure, score, condition or claim", name, known)


def _explain_claim(claim: Claim) -> list[str]:
    held = {"end": "at the end of training", "loss": "at equal train loss", "confidence": "at equal confidence"}
    rows = {
        "Levels": f"of {claim.factor}",
        "Predicts": [str(prediction) for prediction in claim.predictions],
        "Must hold": [held[condition] for condition in (claim.at, *claim.controls)],
        "Source": claim.source,
    }
    return [f"{claim.name}: {claim.title} (a claim)", "", claim.statement, "", *_rows(rows)]


def _explain(kind: str, entry: Registration, rows: Mapping[str, Any]) -> list[str]:
    facts = entry.facts
    lines = [f"{entry.name}: {facts.label} (a {kind}, definition {entry.version})", ""]
    lines += [readable(inspect.getdoc(entry.function) or ""), ""]
    rows = {
        **rows,
        "Options": [f"{option} (default {default!r})" for option, default in entry.defaults.items()],
        "Caveats": list(getattr(facts, "caveats", ())),
        "Reference": facts.reference,
    }
    return [*lines, *_rows(rows)]


def _rows(rows: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is told under each title, an item a line."""
    for title, content in rows.items():
        parts = content if isinstance(content, list) else [content]
        yield from (f"{title + ':':<14}{part}" if i == 0 else f"{'':<14}{part}" for i, part in enumerate(parts) if part)


def _measure_rows(facts: Any) -> dict[str, Any]:
    from sharpscope.curvature.measure import INVARIANCES

    return {
        "Unit": facts.unit or "none",
        "Compared by": facts.scale or "difference",
        "Symbol": facts.symbol,
        "Kind": facts.kind,
        "Direction": direction(facts),
        "Invariant to": [INVARIANCES[key] for key in INVARIANCES if key in facts.invariances] or "nothing",
        "Changes by": [INVARIANCES[key] for key in INVARIANCES if key not in facts.invariances],
        "Cost": facts.cost,
        "Exactness": "exact" if facts.exact else "an estimate, with its standard error",
    }


def direction(facts: Any) -> str:
    """Return what a larger or a smaller value of a measure means."""
    if facts.kind == "control":
        return "neither direction means sharper"
    what = {"sharpness": "a sharper minimum", "complexity": "a more complex function"}[facts.kind]
    return f"{what} has the {facts.sharper_is} value"


def _score_rows(facts: Any) -> dict[str, Any]:
    rows = {
        "Unit": facts.unit or "none",
        "Compared by": facts.scale or "difference",
        "Direction": facts.direction,
        "Reads": reads(facts),
        "Task": " and ".join(facts.tasks),
        "Undefined": facts.undefined,
    }
    if facts.of_pairs:
        rows["Compares"] = "two runs that differ in their seed only; a run's value is the mean over the others"
    return rows


_FEATURES = {
    "features": "what the head is given for test samples",
    "initial_features": "the same before the training",
}


def reads(facts: Any) -> str:
    """Return which predictions a score reads."""
    clean = [name for name in facts.needs if name not in facts.features]
    return ", ".join(
        [
            *([f"clean predictions on {' and '.join(clean)}"] if clean else []),
            *(_FEATURES[name] for name in facts.features),
            *(["predictions under conditions"] if facts.conditions else []),
        ]
    )


def _condition_rows(facts: Any) -> dict[str, Any]:
    from sharpscope.condition import KINDS

    return {
        "Alters": KINDS[facts.kind],
        "Family": facts.family,
        "Severities": ", ".join(map(str, facts.severities)),
        "Images": "colored ones alone" if facts.colored else "",
        "Differs": facts.differs and f"from the reference: {facts.differs}",
    }


# Each kind that can be explained: its registry, and what is told of its facts.
_EXPLAINED: dict[str, tuple[Callable[[], Registry], Callable[[Any], dict[str, Any]]]] = {
    "measure": (_measures, _measure_rows),
    "score": (_scores, _score_rows),
    "condition": (_conditions, _condition_rows),
}


def readable(docstring: str) -> str:
    r"""Return a docstring without the marks of its markup, and without the sections for callers.

    >>> print(readable("A norm.\n\n.. math:: \\|x\\|\n\nOf ``x``.\n\nArgs:\n    x: A vector."))
    A norm.
    <BLANKLINE>
        \|x\|
    <BLANKLINE>
    Of x.
    """
    text = re.split(r"\n+(?:Args|Returns|Raises|Examples|Unit|Cost|Reference|References):", docstring, maxsplit=1)[0]
    text = re.sub(r"^\.\. math::\s*", "    ", text, flags=re.MULTILINE)
    text = re.sub(r":math:`([^`]*)`", r"\1", text)
    return re.sub(r"``([^`]*)``", r"\1", text).strip()

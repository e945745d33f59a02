"""What a name means, for a reader at a terminal: all that is declared of it, in words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sharpscope.docstrings import explained, one_line, parts
from sharpscope.errors import UnknownName
from sharpscope.registry import Registration
from sharpscope.spec import Claim
from sharpscope.study.planning.listing import REGISTRIES


def explanation(name: str) -> str:
    """Return what a name means: definition, options and reference, and what else is declared of its kind.

    Args:
        name: Of a measure, a score, a regime, a condition, a dataset, a model or a claim. What several kinds call by
            one name is told one after the other.

    Raises:
        UnknownName: If nothing has this name.
    """
    from sharpscope.study.source.claims import known_claims

    claims = known_claims()
    known = [*claims]
    found = [_explain_claim(claims[name])] if name in claims else []
    for what, rows in _EXPLAINED.items():
        registry = REGISTRIES[what]()
        # A family serves every name with its prefix; which of them there are, its library knows.
        families = {entry.partition(":")[0]: family for entry, family in registry.families.items()}
        entry = {**registry}.get(name) or families.get(name.partition(":")[0])
        known += [*registry, *registry.families]
        if entry is not None:
            found.append(_explain(entry, rows(entry.facts)))
    if not found:
        raise UnknownName("measure, score, regime, condition, dataset, model or claim", name, known)
    return "\n\n".join("\n".join(lines) for lines in found)


def _explain_claim(claim: Claim) -> list[str]:
    held = {"end": "at the end of training", "loss": "at equal train loss", "confidence": "at equal confidence"}
    rows = {
        "Levels": f"of {claim.factor}",
        "Predicts": [str(prediction) for prediction in claim.predictions],
        "Must hold": [held[condition] for condition in (claim.at, *claim.controls)],
        "Source": claim.source,
    }
    return [f"{claim.name}: {claim.title} (a claim)", "", claim.statement, "", *_rows(rows)]


def _explain(entry: Registration, rows: Mapping[str, Any]) -> list[str]:
    label = getattr(entry.facts, "label", "")
    title = f"{entry.name}: {label}" if label else entry.name
    sections = parts(entry.function)[1]
    rows = {
        **rows,
        "Options": list(_options(entry)),
        "Caveats": list(getattr(entry.facts, "caveats", ())),
        "Reference": getattr(entry.facts, "reference", "") or readable(one_line(sections.get("Reference", ""))),
    }
    text = readable(inspect.getdoc(entry.function) or "")
    return [f"{title} (a {entry.kind}, definition {entry.version})", "", text, "", *_rows(rows)]


def _options(entry: Registration) -> Iterator[str]:
    """Yield each option with its default and what its docstring says of it."""
    told = explained(entry.function, "Args")
    for option in (*entry.required, *entry.defaults):
        default = f"default {entry.defaults[option]!r}" if option in entry.defaults else "to be given"
        yield readable(f"{option} ({default}): {one_line(told.get(option, ''))}").removesuffix(":")


def _rows(rows: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is told under each title, an item a line."""
    for title, content in rows.items():
        items = content if isinstance(content, list) else [content]
        yield from (f"{title + ':':<14}{part}" if i == 0 else f"{'':<14}{part}" for i, part in enumerate(items) if part)


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


def _no_rows(facts: Any) -> dict[str, Any]:
    return {}


# Each list whose names can be explained, with what is told of their facts.
_EXPLAINED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "measures": _measure_rows,
    "scores": _score_rows,
    "regimes": _no_rows,
    "conditions": _condition_rows,
    "datasets": _no_rows,
    "models": _no_rows,
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

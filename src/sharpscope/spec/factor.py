"""What a study compares: a factor, its levels, and the one level that the others are compared with."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import model_serializer, model_validator

from sharpscope.errors import SpecError, suggest
from sharpscope.spec.grid import Grid, is_option, part_of, varying
from sharpscope.spec.structure import Strict, shortened
from sharpscope.spec.values import is_missing, value_text

REGIME = "regime"
BASELINE = "baseline"

Parts = Mapping[str, Mapping[str, Any]]  # of a regime, with their options


class Compare(Strict):
    """What a study compares, as it is written: ``regime``, ``{factor: data.factor, reference: 0.5, ordered: true}``.

    Attributes:
        factor: ``regime``, or a key of the grid that takes several values.
        reference: The level that the others are compared with. Where it is not given, ``baseline`` among regimes, and
            the first level otherwise.
        ordered: Whether its levels have an order. Where it is None, they do if they are numbers.
    """

    factor: str = REGIME
    reference: Any = None
    ordered: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        return {"factor": value} if isinstance(value, str) else value

    @model_serializer
    def _to_yaml(self) -> dict[str, Any]:
        # A reference may be null: one that is given is told from one that is not.
        return {key: getattr(self, key) for key in ("factor", "reference", "ordered") if key in self.model_fields_set}


@dataclass(frozen=True)
class Factor:
    """What a study compares.

    Attributes:
        name: ``regime`` or a key of the grid, which is its column in the ledger.
        levels: What it takes on, as text, in the order of the study. For an option of regimes, the first level stands
            for those that lack its part, such as "no sam".
        reference: The level that the others are compared with.
        ordered: Whether the levels have an order.
        ranks: The place of each level in this order.
        settings: The setting of each regime, which is its label. Where an option of a part is compared, a regime with
            the part stands beside the one that is the same without it: "baseline (+sam)" is the setting of both.
    """

    name: str
    levels: tuple[str, ...]
    reference: str
    ordered: bool
    ranks: Mapping[str, int]
    settings: Mapping[str, str]

    @classmethod
    def of(cls, study: Mapping[str, Any]) -> Factor:
        """Return what a study compares.

        Args:
            study: The study as plain values, as it is written or stored.

        Raises:
            SpecError: If its ``compare`` names what does not vary, or a reference that is no level.
        """
        asked = study.get("compare") or {}
        name = asked.get("factor", REGIME)
        regimes, grid = _parts_of(study["regimes"]), study.get("grid", {})
        _check_name(name, regimes, grid)
        values = () if name == REGIME else tuple(grid[name])
        levels = _levels(name, regimes, grid)
        _check_levels(name, levels)
        numbers = bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        given = asked.get("ordered")
        by_value = sorted(values) if numbers else values
        ranked = dict.fromkeys((*levels[: len(levels) - len(values)], *map(value_text, by_value)))
        return cls(
            name=name,
            levels=levels,
            reference=_reference(name, levels, asked),
            ordered=numbers if given is None else given,
            ranks={level: rank for rank, level in enumerate(ranked)},
            settings=_settings(part_of(name), regimes) if is_option(name) else {label: label for label in regimes},
        )

    @property
    def lacking(self) -> str | None:
        """The level of regimes that lack the part whose option is compared; None where there is none."""
        level = _lacking(self.name) if is_option(self.name) else None
        return level if level in self.levels else None

    def level(self, regime: str, coordinates: Mapping[str, Any]) -> str:
        """Return the level of a run.

        Args:
            regime: The label of its regime.
            coordinates: The value of every key that varies, with None or NaN where its regime lacks the part.
        """
        if self.name == REGIME:
            return arm_label(regime, coordinates)
        value = coordinates[self.name]
        return _lacking(self.name) if is_option(self.name) and is_missing(value) else value_text(value)

    def written(self, grid: Grid) -> Compare:
        """Return what is compared as a study says it with nothing left out."""
        same = (v for v in grid.get(self.name, ()) if value_text(v) == self.reference)
        return Compare(factor=self.name, reference=next(same, self.reference), ordered=self.ordered)

    @property
    def noun(self) -> str:
        """What one of the levels is called."""
        return REGIME if self.name == REGIME else "level"

    @property
    def title(self) -> str:
        """What stands above a column of levels."""
        return "Regime" if self.name == REGIME else self.name

    @property
    def each(self) -> str:
        """What one of the levels is called where it has to be said of what: "level of data.factor"."""
        return REGIME if self.name == REGIME else f"level of {self.name}"

    def counted(self, count: int) -> str:
        """Return so many levels in words: "2 regimes", "4 levels of data.factor"."""
        return f"{count} {self.each.replace(self.noun, f'{self.noun}s', 1) if count != 1 else self.each}"

    def told(self, *levels: str, again: bool = False) -> str:
        """Return levels in a sentence: "sam", "data.factor 0.6, 0.8 and 0.9", "no sam".

        Args:
            levels: Which.
            again: Whether the sentence has said what they are levels of; words are then told alone, "himmelblau".
        """
        names = list(levels)
        if self.name != REGIME and not (again and all(map(_is_word, self.levels))):
            first = next((i for i, level in enumerate(names) if level != self.lacking), None)
            names = [f"{self.name} {level}" if i == first else level for i, level in enumerate(names)]
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def arm_label(regime: str, coordinates: Mapping[str, Any]) -> str:
    """Return a regime with the options that the grid gives it, as its label would have them.

    >>> [arm_label("sam", {"training.lr": 0.1, "regimes.sam.rho": rho}) for rho in (0.05, None)]
    ['sam(rho=0.05)', 'sam']
    """
    texts = {key: value_text(v) for key, v in coordinates.items() if is_option(key) and not is_missing(v)}
    short = [key.split(".", 2)[2] for key in texts]
    names = short if len(set(short)) == len(short) else [key.split(".", 1)[1] for key in texts]
    options = ",".join(f"{name}={text}" for name, text in zip(names, texts.values(), strict=True))
    return f"{regime}({options})" if options else regime


def _parts_of(regimes: Iterable[Mapping[str, Any]]) -> dict[str, Parts]:
    """Return the parts of each regime by its label."""
    return {str(r["label"]): {part: options for part, options in r.items() if part != "label"} for r in regimes}


def _is_word(level: str) -> bool:
    """Return whether a level says what it is by itself, which a number or a switch does not.

    >>> [_is_word(level) for level in ("himmelblau", "0.5", "1e-3", "true")]
    [True, False, False, False]
    """
    try:
        float(level)
    except ValueError:
        return level not in ("true", "false", "none", "null")
    return False


def _lacking(name: str) -> str:
    return f"no {part_of(name)}"


def _check_name(name: str, regimes: Mapping[str, Parts], grid: Grid) -> None:
    loc = ("compare", "factor")
    known = [REGIME, *varying(grid)]
    if name in known:
        if is_option(name):
            _check_option(name, regimes, grid)
        return
    if name == "seed":
        raise SpecError("runs are compared seed by seed, so that 'seed' cannot be the factor", loc)
    if name in grid:
        message = f"a factor has several levels, and the grid gives '{name}' one value; add those to compare it with"
        raise SpecError(message, loc)
    hint = suggest(name, known)
    raise SpecError(f"the factor {shortened(name)} is no key of the grid that takes several values{hint}", loc)


def _check_option(name: str, regimes: Mapping[str, Parts], grid: Grid) -> None:
    part = part_of(name)
    others = [key for key in varying(grid) if is_option(key) and part_of(key) == part and key != name]
    if others and any(part not in parts for parts in regimes.values()):
        raise SpecError(
            f"'{name}' is compared with regimes that lack '{part}', which '{others[0]}' does not divide into settings; "
            f"give '{others[0]}' one value, leave out the regimes without '{part}', or compare regime",
            ("compare", "factor"),
        )


def _levels(name: str, regimes: Mapping[str, Parts], grid: Grid) -> tuple[str, ...]:
    if name == REGIME:
        return tuple(level for label, parts in regimes.items() for level in _arms(label, parts, grid))
    lacks = is_option(name) and any(part_of(name) not in parts for parts in regimes.values())
    return (*((_lacking(name),) if lacks else ()), *map(value_text, grid[name]))


def _check_levels(name: str, levels: Sequence[str]) -> None:
    for level, times in Counter(levels).items():
        if times > 1:
            where = ("regimes",) if name == REGIME else ("grid", name)
            raise SpecError(f"two levels of {name} would have the name '{level}'; give one of them another", where)


def _arms(label: str, parts: Parts, grid: Grid) -> list[str]:
    keys = [key for key in varying(grid) if is_option(key) and part_of(key) in parts]
    chosen = itertools.product(*(map(value_text, grid[key]) for key in keys))
    return [arm_label(label, dict(zip(keys, values, strict=True))) for values in chosen]


def _reference(name: str, levels: Sequence[str], asked: Mapping[str, Any]) -> str:
    if "reference" not in asked:
        return BASELINE if name == REGIME and BASELINE in levels else levels[0]
    text = value_text(asked["reference"])
    if text in levels:
        return text
    if asked["reference"] is None:
        # Nothing in the column of the factor: the level of what lacks it.
        return _reference(name, levels, {})
    message = f"the reference {shortened(asked['reference'])} is no level of {name}{suggest(text, levels)}"
    raise SpecError(message, ("compare", "reference"))


def _settings(part: str, regimes: Mapping[str, Parts]) -> dict[str, str]:
    """Return, for each regime, the setting in which it is compared: with the one that is the same but for a part."""
    alike: dict[str, list[str]] = {}
    for label, parts in regimes.items():
        rest = {name: options for name, options in parts.items() if name not in (part, BASELINE)}
        alike.setdefault(repr(sorted(rest.items())), []).append(label)
    found = {label: label for label in regimes}
    for labels in alike.values():
        without = [label for label in labels if part not in regimes[label]]
        # Of several with the part, each would have runs of the same levels and seeds.
        if len(without) == 1 and len(labels) == 2:
            found |= dict.fromkeys(labels, f"{without[0]} (+{part})")
    return found

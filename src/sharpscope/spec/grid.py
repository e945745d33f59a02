"""The grid of a study: what varies, and the runs that this makes."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sharpscope.errors import SpecError, suggest
from sharpscope.spec.regime import Regime
from sharpscope.spec.run import Run
from sharpscope.spec.structure import validated
from sharpscope.spec.training import Training
from sharpscope.spec.values import is_column, set_dotted, value_text

if TYPE_CHECKING:
    from sharpscope.spec.study import Study

# A key of the grid that begins so sets an option of a part in every regime that has this: ``regimes.sam.rho``.
OPTION = "regimes."

Grid = Mapping[str, list[Any]]


@dataclass(frozen=True)
class GridPoint:
    """One point of the grid: a run and where it stands.

    Attributes:
        run: The run.
        coordinates: The value of every key that varies, without regime and seed: ``{"training.lr": 0.1}``. Values that
            make no column of a table, such as lists, are there as text. An option of a part that the regime lacks is
            None, and of no other one.
    """

    run: Run
    coordinates: dict[str, Any]

    def described(self, *between: str) -> str:
        """Return where the point stands in words: "sam, training.lr = 0.1"; what is ``between`` follows the regime."""
        told = {key: value for key, value in self.coordinates.items() if value is not None or not is_option(key)}
        settings = (f"{key} = {value_text(value)}" for key, value in told.items())
        return ", ".join([self.run.regime.label, *between, *settings])


def is_option(key: str) -> bool:
    """Return whether a key of the grid sets an option of a part of regimes."""
    return key.startswith(OPTION)


def changes_test_set(key: str) -> bool:
    """Return whether a key of the grid may change what runs are tested on, as all of the data do but sizes of splits.

    >>> changes_test_set("data.factor"), changes_test_set("data.train_size"), changes_test_set("regime")
    (True, False, False)
    """
    return key.startswith("data.") and key not in ("data.train_size", "data.calibration_size")


def part_of(key: str) -> str:
    """Return the part of regimes whose option a key of the grid sets.

    >>> part_of("regimes.sam.rho")
    'sam'
    """
    return key.split(".")[1]


def varying(grid: Grid) -> list[str]:
    """Return the keys of a grid that take several values, without the seed."""
    return [key for key, values in grid.items() if key != "seed" and len(values) > 1]


def arms(regime: Regime, grid: Grid) -> Iterator[tuple[Regime, dict[str, Any]]]:
    """Yield a regime with each combination of the options that a grid sets in its parts, and these options."""
    keys = _own_keys(regime, grid)
    for values in itertools.product(*(grid[key] for key in keys)):
        chosen = dict(zip(keys, values, strict=True))
        yield (regime.with_options(chosen) if chosen else regime), chosen


def count(regimes: Sequence[Regime], grid: Grid) -> int:
    """Return how many runs a grid has."""
    of_all = math.prod(len(values) for key, values in grid.items() if not is_option(key))
    return of_all * sum(math.prod(len(grid[key]) for key in _own_keys(regime, grid)) for regime in regimes)


def _own_keys(regime: Regime, grid: Grid) -> list[str]:
    parts = {part.name for part in regime.parts}
    return [key for key in grid if is_option(key) and part_of(key) in parts]


def expanded(study: Study) -> list[GridPoint]:
    """Return all points of the grid of a study; see ``Study.expand``."""
    base = study.model_dump(include={"data", "model", "training"})
    for key in study.grid:
        _check_key(key, base, study.regimes)
    keys = [key for key in study.grid if key != "seed" and not is_option(key)]
    points = []
    for seed in study.grid["seed"]:
        for values in itertools.product(*(study.grid[key] for key in keys)):
            chosen = dict(zip(keys, values, strict=True))
            at_point = copy.deepcopy(base)
            for key, value in chosen.items():
                set_dotted(at_point, key, value)
            for regime in study.regimes:
                for arm, options in arms(regime, study.grid):
                    run = validated(Run, {**at_point, "regime": arm, "seed": seed}, chosen)
                    points.append(GridPoint(run, _coordinates(chosen | options, study.grid)))
    return points


def _coordinates(chosen: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
    """Return what was chosen for the keys that vary, as a column of a table has it."""
    found = {key: chosen.get(key) for key in varying(grid)}
    return {
        key: value_text(value) if key in chosen and not has_column(key, grid[key]) else value
        for key, value in found.items()
    }


def has_column(key: str, values: list[Any]) -> bool:
    """Return whether the values of a key are a column of a table as they are; else as text.

    Nothing in the column of an option means that the regime lacks its part.
    """
    return is_column(values) and not (is_option(key) and None in values)


def _check_key(key: str, base: Mapping[str, Any], regimes: Sequence[Regime]) -> None:
    """See that a key of the grid leads to something.

    Raises:
        SpecError: If it does not.
    """
    section, _, rest = key.partition(".")
    if key == "seed":
        return
    if is_option(key):
        _check_option(key, regimes)
    elif section not in base or not rest:
        known = [f"{s}.…" for s in (*base, "regimes")] + ["seed"]
        raise SpecError(f"the grid key '{key}' names nothing that varies{suggest(key, known)}", ("grid", key))
    elif section == "training" and rest.partition(".")[0] not in Training.model_fields:
        hint = suggest(rest, Training.model_fields)
        raise SpecError(f"unknown key '{rest}' in training{hint}", ("grid", key))


def _check_option(key: str, regimes: Sequence[Regime]) -> None:
    part, _, option = key.removeprefix(OPTION).partition(".")
    if not part or not option:
        message = f"the grid key '{key}' names no option; one of a part of regimes is written as in regimes.sam.rho"
        raise SpecError(message, ("grid", key))
    parts = {p.name for regime in regimes for p in regime.parts}
    if part not in parts:
        message = f"the grid varies '{key}', and no regime of the study has the part '{part}'{suggest(part, parts)}"
        raise SpecError(message, ("grid", key))
    for regime in regimes:
        if regime.tells(part, option.partition(".")[0]):
            raise SpecError(
                f"the grid varies '{key}', which the regime '{regime.label}' gives in its name; "
                "take it out of the regime, or give this a label",
                ("grid", key),
            )

"""The grid of a study: what varies, and the runs that this makes."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sharpscope.errors import SpecError, suggest
from sharpscope.spec.run import Run
from sharpscope.spec.structure import validated
from sharpscope.spec.training import Training
from sharpscope.spec.values import as_text, is_column, set_dotted

if TYPE_CHECKING:
    from sharpscope.spec.study import Study


@dataclass(frozen=True)
class Point:
    """One point of the grid: a run and where it stands.

    Attributes:
        run: The run.
        coordinates: The value of every key that varies, without regime and seed: ``{"training.lr": 0.1}``. Values that
            make no column of a table, such as lists, are there as text.
    """

    run: Run
    coordinates: dict[str, Any]


def expanded(study: Study) -> list[Point]:
    """Return all points of the grid of a study; see ``Study.expand``."""
    keys = [key for key in study.grid if key != "seed"]
    base = study.model_dump(include={"data", "model", "training"})
    for key in keys:
        _check_key(key, base)
    as_texts = {key for key in study.varying if not is_column(study.grid[key])}
    points = []
    for seed in study.grid["seed"]:
        for values in itertools.product(*(study.grid[key] for key in keys)):
            chosen = dict(zip(keys, values, strict=True))
            at_point = copy.deepcopy(base)
            for key, value in chosen.items():
                set_dotted(at_point, key, value)
            coordinates = {key: as_text(chosen[key]) if key in as_texts else chosen[key] for key in study.varying}
            for regime in study.regimes:
                run = validated(Run, {**at_point, "regime": regime, "seed": seed}, chosen)
                points.append(Point(run, coordinates))
    return points


def _check_key(key: str, base: Mapping[str, Any]) -> None:
    section, _, rest = key.partition(".")
    if section not in base or not rest:
        known = [f"{s}.…" for s in base] + ["seed"]
        raise SpecError(f"the grid key '{key}' names nothing that varies{suggest(key, known)}", ("grid", key))
    if section == "training" and rest.partition(".")[0] not in Training.model_fields:
        hint = suggest(rest, Training.model_fields)
        raise SpecError(f"unknown key '{rest}' in training{hint}", ("grid", key))

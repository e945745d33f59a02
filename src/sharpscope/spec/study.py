"""A study as it is written: a grid of runs, and what is measured and compared on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from sharpscope.spec.component import Component, named
from sharpscope.spec.factor import Compare, Factor
from sharpscope.spec.grid import GridPoint, count, expanded, varying
from sharpscope.spec.regime import Regime
from sharpscope.spec.structure import Strict, shortened
from sharpscope.spec.training import Training
from sharpscope.spec.values import repeats
from sharpscope.spec.watch import Watch

REQUIRED = ("name", "data", "model")
# The key by which a study file names the study that it changes. It is gone where the two are one.
EXTENDS = "extends"
Correction = Literal["westfall_young", "holm"]
# Planning takes some 3 ms and 8 kB for each.
MOST_RUNS = 100_000


class Study(Strict):
    """A grid of runs, and what is measured and compared on them.

    Attributes:
        name: At most 100 letters, digits, ``.``, ``_`` and ``-``; its results go to a folder of this name.
        data: What is trained on: a dataset by its name, or a mapping of its name and options.
        model: What is trained: a model by its name, or a mapping of its name and options.
        training: The recipe that all regimes share.
        regimes: How models are regularized.
        grid: What else varies: dotted keys with lists of values. ``seed: n`` stands for the seeds 0 to n - 1, and
            ``regimes.sam.rho`` for an option of every regime that has the part.
        compare: The factor whose levels are compared: the regime, or a key of the grid. It changes no run.
        measures: What is measured at each minimum: names, or keys with options. Without it, the cheap exact ones.
        measures_subset: How many training samples measures are taken on at most; all when None.
        scores: What is said of the predictions: names, or keys with options. Without it, the usual ones that the data
            allow.
        twins: Twins of each model that are looked at too: ``calibrated`` is the model with its head divided by the
            temperature that suits the calibration split, ``matched_confidence`` with that at which it is as sure as the
            model of the reference level. They change no run.
        watch: What is measured along each training: every so many steps, or after the steps of a list. It changes no
            run.
        primary: The few quantities that decide; they are tested as one family.
        claims: Published statements that the study judges: names of claims, or files of the user's own with one each.
            They change no run.
        correction: How the primary family is corrected for its many tests: ``westfall_young`` flips the signs of whole
            seeds, ``holm`` takes p-values alone. It changes no run.
        margin: By quantity, the smallest difference that matters: a factor above 1 where values are compared by their
            ratio. A level that differs by less is called equivalent. It changes no run.
        sections: What the report has, in this order; what is not named is absent. It changes no run.
        plugins: Python files that register what is the study's own, from the folder of its file.
    """

    also_known: ClassVar[tuple[str, ...]] = (EXTENDS,)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    data: Component
    model: Component
    training: Training = Training()
    regimes: tuple[Regime, ...] = Field(("baseline",), min_length=1, validate_default=True)
    grid: dict[str, list[Any]] = Field(default_factory=lambda: {"seed": [0]})
    compare: Compare = Compare()
    measures: dict[str, dict[str, Any]] | None = None
    measures_subset: PositiveInt | None = None
    scores: dict[str, dict[str, Any]] | None = None
    twins: tuple[Literal["calibrated", "matched_confidence"], ...] = ()
    watch: Watch | None = None
    primary: tuple[str, ...] | None = None
    claims: tuple[str, ...] = ()
    correction: Correction = "westfall_young"
    margin: dict[str, Annotated[PositiveFloat, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    sections: tuple[str, ...] | None = None
    plugins: tuple[str, ...] = ()

    @field_validator("grid", mode="before")
    @classmethod
    def _grid(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("the grid is a mapping of keys to lists of values, such as {seed: 10}")
        grid = {str(key): (v if isinstance(v, list) else [v]) for key, v in value.items()}
        seeds = value.get("seed", 1)
        if not isinstance(seeds, list):
            if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
                raise ValueError(f"grid.seed is a number of seeds or a list of them, got {seeds!r}")
            if seeds > MOST_RUNS:
                raise ValueError(f"grid.seed asks for {seeds} seeds, and a study has at most {MOST_RUNS} runs")
            seeds = list(range(seeds))
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, int):
                raise ValueError(f"grid.seed must hold whole numbers, got {seed!r}")
        for key, values in (grid := {**grid, "seed": seeds}).items():
            if not values:
                raise ValueError(f"grid.{key} is an empty list: the grid has no run")
            if repeats(values):
                raise ValueError(f"grid.{key} holds a value twice: {shortened(values)}")
        return grid

    @field_validator("measures", mode="before")
    @classmethod
    def _measures(cls, value: Any) -> Any:
        return named("measure", value)

    @field_validator("scores", mode="before")
    @classmethod
    def _scores(cls, value: Any) -> Any:
        return named("score", value)

    @field_validator("twins")
    @classmethod
    def _twins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"twins are listed once each, got {', '.join(value)}")
        return value

    @model_validator(mode="after")
    def _unique_labels(self) -> Study:
        labels = [regime.label for regime in self.regimes]
        for label, times in Counter(labels).items():
            if times > 1:
                raise ValueError(f"the regime '{label}' is listed twice")
        return self

    @model_validator(mode="after")
    def _finite_grid(self) -> Study:
        runs = count(self.regimes, self.grid)
        if runs > MOST_RUNS:
            raise ValueError(f"the grid has {runs} runs, and a study has at most {MOST_RUNS}; make it smaller")
        return self

    @property
    def varying(self) -> list[str]:
        """The dotted keys of the grid that take several values, without the seed."""
        return varying(self.grid)

    @property
    def factor(self) -> Factor:
        """What the study compares.

        Raises:
            SpecError: If it names what does not vary, or a reference that is no level.
        """
        return Factor.of(self.model_dump(include={"regimes", "grid", "compare"}))

    def expand(self) -> list[GridPoint]:
        """Return all points of the grid, seed by seed, so that a part of them is a balanced study.

        Raises:
            SpecError: If a key of the grid names nothing, or a value does not fit where it goes.
        """
        return expanded(self)

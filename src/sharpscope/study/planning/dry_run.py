"""Trying every distinct part of a grid before any of it is run."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sharpscope.curvature.measure import MEASURES
from sharpscope.data import CONDITIONS, DATASETS, Condition, Dataset, DataSource, conditions_of
from sharpscope.data.stand_in import stand_in
from sharpscope.errors import FAULTS, DataError, NotDefined, SharpscopeError, SpecError, one_line
from sharpscope.models import MODELS, build_untrained
from sharpscope.seeding import Stream
from sharpscope.spec import Component, GridPoint, Loc, Run, Study, arm_label, arms
from sharpscope.study.planning.model_check import check_model, try_condition
from sharpscope.study.planning.packing import Packing
from sharpscope.study.planning.resolve import at, completed
from sharpscope.study.work.devices import CPU
from sharpscope.study.work.features import head_inputs
from sharpscope.study.work.few import few_of
from sharpscope.study.work.measuring import measure_clean, refused_at_once
from sharpscope.study.work.requested import RequestedValue
from sharpscope.study.work.streams import training_stream
from sharpscope.task import CLASSIFICATION, Task
from sharpscope.training import Recipe, check_compiler
from sharpscope.training import check as check_recipes
from sharpscope.training.minibatches import MiniBatches, lost_classes, smallest_part, steps_of


class DryRun:
    """Resolves names and options, loads data, and tries models and recipes on them.

    Args:
        study: The study that the runs are of.
        data_dir: The user's folder of datasets.
        to_run: Whether all data must be there; see ``make_plan``.
        device: Where models are tried.

    Attributes:
        datasets: What was loaded, by the text of its component.
        notes: What the user should know.
    """

    def __init__(self, study: Study, data_dir: Path | None, *, to_run: bool, device: str = CPU) -> None:
        self.datasets: dict[str, Dataset] = {}
        self.notes: list[str] = []
        self._study = study
        self._data_dir = data_dir
        self._to_run = to_run
        self._device = device
        self._models: dict[tuple[str, str], nn.Module] = {}
        self._tried: set[str] = set()
        self._packings: dict[str, Packing] = {}

    def check(self, point: GridPoint) -> None:
        """Resolve every name and option of a run, load its data, and try its model and recipe on them."""
        run = point.run
        data, training = text_of(run.data), run.training.model_dump_json()
        if data not in self.datasets:
            self.datasets[data] = at(("data",), lambda: self._load(run.data))
        dataset = self.datasets[data]
        model = text_of(run.model)
        if (data, model) not in self._models:
            completed(MODELS, run.model, ("model",))
            self._models[data, model] = at(("model",), lambda: check_model(run.model, dataset, self._device))
        if self._is_new(training):
            check_recipes(run.training, [next(arms(regime, self._study.grid))[0] for regime in self._study.regimes])
            if run.training.compile:
                at(("training", "compile"), check_compiler)
        if self._is_new(data, model, training, run.regime.model_dump_json()):
            recipe = _recipe_of(run)
            _check_steps(run.training.warmup_steps, recipe, dataset)
            self._check_classes(point, recipe)
            if smallest_part(len(dataset.train_targets), recipe) == 1:
                self._try_one_sample(run)
            at(("regimes", run.regime.label), lambda: _try_batch(recipe, dataset))
            at(("regimes", run.regime.label), lambda: _try_attachments(recipe, self._models[data, model]))

    def pack(self, run: Run) -> Packing:
        """Return whether a run that was checked can be trained together with others.

        Args:
            run: With all its options.
        """
        key = "\n".join([text_of(run.data), text_of(run.model), run.training.model_dump_json(), _parts(run)])
        if key not in self._packings:
            model, dataset = self._models[text_of(run.data), text_of(run.model)], self.datasets[text_of(run.data)]
            self._packings[key] = Packing.of(model, _recipe_of(run), dataset)
        return self._packings[key]

    def _check_classes(self, point: GridPoint, recipe: Recipe) -> None:
        """See that every class keeps a training sample; labels that are drawn anew need not leave it one."""
        run = point.run
        dataset, stream = self.datasets[text_of(run.data)], training_stream(run)
        lost = at(("regimes", run.regime.label), lambda: lost_classes(dataset, recipe, stream))
        if lost:
            regime = arm_label(run.regime.label, point.coordinates)
            self.notes.append(
                f"the labels of regime '{regime}' leave {len(lost)} classes of dataset '{run.data.name}' "
                f"without a training sample ({', '.join(lost[:5])}); more samples or less noise would not"
            )

    def _try_one_sample(self, run: Run) -> None:
        """See that a model can be trained on a batch of one sample: BatchNorm may not, without more positions in it."""
        dataset = self.datasets[text_of(run.data)]
        shape, outputs = dataset.input_shape, dataset.outputs
        model = build_untrained(run.model.name, shape, outputs, Stream("dry_run"), **run.model.options).train()
        try:
            with Stream("dry_run").governing(), torch.no_grad():
                model(dataset.normalize(dataset.train_inputs[:1]))
        except FAULTS as error:
            message = (
                f"an epoch ends with one sample left, and model '{run.model.name}' cannot be trained on it alone "
                f"({one_line(error)}); choose another batch_size"
            )
            raise SpecError(message, ("training", "batch_size")) from None

    def _is_new(self, *parts: str) -> bool:
        key = "\n".join(parts)
        new = key not in self._tried
        self._tried.add(key)
        return new

    def _load(self, component: Component) -> Dataset:
        options = completed(DATASETS, component, ()).options
        try:
            source = DataSource(self._data_dir, download=self._to_run)
            dataset = replace(_made(component.name, source, options), source=source)
        except DataError as error:
            noise = None if self._to_run else stand_in(component.name, options)
            if noise is None:
                raise
            self.notes.append(f"{error}; until then, noise of the same shape stands in")
            return noise
        for split, targets in (("training", dataset.train_targets), ("test", dataset.test_targets)):
            dataset.objective.check_varied(dataset.name, split, targets)
        return dataset

    def prepare_suites(self, conditions: Collection[str]) -> None:
        """See that the published suites of some conditions are there; download what is missing.

        Raises:
            SpecError: If files are missing, and the study is to be run.
        """
        suites = {name.rpartition("/")[0] for name in conditions}
        for dataset in self.datasets.values():
            suite = dataset.corrupted
            if suite is None or suite.name not in suites:
                continue
            try:
                at(("data",), suite.prepare)
            except SpecError as error:
                if self._to_run:
                    raise
                self.notes.append(error.message)

    def check_conditions(self, runs: Iterable[Run], readers: Mapping[str, str]) -> None:
        """See that conditions can be applied, and models evaluated under them, as far as a few samples tell.

        Args:
            runs: Of the grid.
            readers: By condition, the key of a score that reads predictions under it.

        Raises:
            SpecError: If one cannot; it would fail in every run.
        """
        for dataset in self.datasets.values():
            for name, condition in self._own(dataset, readers).items():
                if condition.facts.kind == "inputs":
                    at(("scores", readers[name]), partial(try_condition, condition, dataset))
        for run, model, _ in self._untrained(runs, "conditions") if readers else ():
            dataset = self.datasets[text_of(run.data)]
            for name, condition in self._own(dataset, readers).items():
                if condition.facts.kind != "inputs":
                    self._try(condition, dataset, model, readers[name])

    def _try(self, condition: Condition, dataset: Dataset, model: nn.Module, reader: str) -> None:
        """Try a condition; other data whose files are not there are noted where the study is not to be run."""
        try:
            at(("scores", reader), partial(try_condition, condition, dataset, model))
        except SpecError as error:
            if self._to_run or condition.facts.kind != "data":
                raise
            self.notes.append(error.message)

    @staticmethod
    def _own(dataset: Dataset, names: Collection[str]) -> dict[str, Condition]:
        """Return the registered conditions of a dataset among some; published ones are files, which are looked for."""
        return {name: c for name, c in conditions_of(dataset, names).items() if name in names and name in CONDITIONS}

    def check_features(self, runs: Iterable[Run], reader: str) -> None:
        """See that every model of the grid has a head, as far as a few samples tell.

        Args:
            runs: Of the grid.
            reader: The key of a score that compares what heads are given.

        Raises:
            SpecError: If one has not.
        """
        for run, model, few in self._untrained(runs, "features"):
            try:
                head_inputs(model.eval(), few, CPU)
            except NotDefined as error:
                message = f"model '{run.model.name}' on dataset '{run.data.name}' has no '{reader}': {error}"
                raise SpecError(message, ("scores", reader)) from None

    def refused(self, runs: Iterable[Run], requested: Mapping[str, RequestedValue]) -> dict[str, str]:
        """Return the measures that some model of the grid does not have, with the reasons."""
        reasons: dict[str, str] = {}
        for _, model, few in self._untrained(runs, "measures"):
            found = measure_clean(model, few, requested, 0, dict(model.named_parameters()), noted=(NotDefined,))
            reasons = {key: str(error) for key, error in found.failed.items()} | reasons
        return reasons

    def check_measures(
        self, runs: Iterable[Run], requested: Mapping[str, RequestedValue], loc: Loc = ("measures",)
    ) -> None:
        """See that every model of the grid has the measures, as far as their first pass over a few samples tells.

        Args:
            runs: Of the grid.
            requested: The measures, by key.
            loc: Where they are asked for.

        Raises:
            SpecError: If one has not.
        """
        for run, model, few in self._untrained(runs, ".".join(map(str, loc))) if requested else ():
            refused = refused_at_once(model, few, requested) | _of_classes(few.task, requested)
            for key, reason in refused.items():
                message = f"model '{run.model.name}' on dataset '{run.data.name}' has no '{key}': {reason}"
                raise SpecError(message, (*loc, key))

    def _untrained(self, runs: Iterable[Run], purpose: str) -> Iterator[tuple[Run, nn.Module, Dataset]]:
        """Yield each model of the grid with a few samples of its data, once for a purpose, and a run that has it."""
        for run in runs:
            if self._is_new(purpose, text_of(run.data), text_of(run.model)):
                dataset = self.datasets[text_of(run.data)]
                shape, outputs = dataset.input_shape, dataset.outputs
                model = build_untrained(run.model.name, shape, outputs, Stream("dry_run"), **run.model.options)
                yield run, model, few_of(dataset)


def _of_classes(task: Task, requested: Mapping[str, RequestedValue]) -> dict[str, str]:
    """Return the measures that are defined for another task alone, with the reason."""
    reason = f"it is defined for {CLASSIFICATION.name}, and these data are of {task.name}"
    tests = {key: MEASURES[wanted.name].facts.of_classes for key, wanted in requested.items() if not task.classes}
    return {key: reason for key, test in tests.items() if test is not None and test(requested[key].options)}


def _recipe_of(run: Run) -> Recipe:
    """Return the recipe of a run whose training fits; what does not fit is in its regime."""
    try:
        return Recipe.from_spec(run.training, run.regime)
    except SpecError as error:
        raise SpecError(error.message, ("regimes", *error.loc[1:])) from None


def _check_steps(warmup: int, recipe: Recipe, dataset: Dataset) -> None:
    """See that the learning rate rises within the training.

    Raises:
        SpecError: If it does not.
    """
    steps = steps_of(len(dataset.train_targets), recipe)
    if warmup >= steps:
        message = f"a warm-up of {warmup} steps does not end within the {steps} steps of the training; shorten it"
        raise SpecError(message, ("training", "warmup_steps"))


def _try_batch(recipe: Recipe, dataset: Dataset) -> None:
    """Make a batch of a few samples, to see that what the recipe does to them suits the data."""
    stream = Stream("dry_run")
    next(iter(MiniBatches(recipe.training_data(few_of(dataset), stream), recipe, stream, torch.device(CPU))))


def _try_attachments(recipe: Recipe, model: nn.Module) -> None:
    """Attach to a model what a recipe attaches, and take it off, to see that the model has what that needs."""
    for attachment in recipe.attachments:
        with attachment(model):
            pass


def _parts(run: Run) -> str:
    return json.dumps([part.model_dump() for part in run.regime.parts], sort_keys=True)


def text_of(component: Component) -> str:
    """Return text that is equal for equal components."""
    return json.dumps(component.model_dump(), sort_keys=True)


def _made(name: str, source: DataSource, options: Mapping[str, Any]) -> Dataset:
    """Return a dataset; whatever its function raises or returns instead is told in one sentence."""
    try:
        dataset = DATASETS[name](source, **options)
    except (SharpscopeError, OSError):
        raise
    except FAULTS as error:
        raise SpecError(f"the dataset '{name}' cannot be made: {one_line(error):.300}") from error
    if not isinstance(dataset, Dataset):
        raise SpecError(f"the dataset '{name}' should be a sharpscope.extend.Dataset, and is {dataset!r:.60}")
    return dataset

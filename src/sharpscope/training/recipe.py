"""What a training does, apart from model and data: a study's training section as changed by a regime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from sharpscope import spec
from sharpscope.data import Dataset
from sharpscope.data.dataset import Augmentation
from sharpscope.errors import DataError, SpecError, UnknownName
from sharpscope.registry import Entry, Registry
from sharpscope.training.optimizers import OPTIMIZERS, make_optimizer
from sharpscope.training.registry import REGIMES, SCHEDULES
from sharpscope.training.schedules import constant
from sharpscope.training.steps import Step, Update

Schedule = Callable[[int, int], float]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How to train; regimes return changed copies of it.

    Attributes:
        optimizer: A name in ``OPTIMIZERS``.
        optimizer_options: Its further arguments, momentum and weight decay among them.
        lr: The learning rate at the beginning.
        schedule: The factor on it at step 0 .. steps - 1 of the whole training.
        batch_size: Samples a step.
        epochs: Passes over the data.
        update: Makes the step that turns gradients into new weights.
        augment: Whether batches pass through the dataset's own augmentation.
        loss: Outputs and targets of a batch to their mean loss.
    """

    optimizer: str = "sgd"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 0.05
    schedule: Schedule = constant
    batch_size: int = 64
    epochs: int = 30
    update: Update = Step
    augment: bool = False
    loss: Loss = cross_entropy

    @classmethod
    def from_spec(cls, training: spec.Training, regime: spec.Regime) -> Recipe:
        """Return the recipe of one run, with every name and option checked.

        The parts of a regime are applied in the order of their names, so the order in which they are written
        cannot matter.

        Raises:
            SpecError: If a name or an option is unknown or unfit; ``loc`` is relative to a run:
                ``("training", ...)`` or ``("regime", part, option)``.
        """
        recipe = cls._from_training(training)
        for part in sorted(regime.parts, key=lambda part: part.name):
            try:
                entry = _find(REGIMES, part.name, ())
                recipe = entry(recipe, **entry.complete(part.options))
            except SpecError as error:
                raise error.within("regime", part.name) from None
        return recipe

    @classmethod
    def _from_training(cls, training: spec.Training) -> Recipe:
        optimizer = _find(OPTIMIZERS, training.optimizer.lower(), ("training", "optimizer"))
        recipe = cls(
            optimizer=optimizer.name,
            optimizer_options=_merged_options(training, optimizer),
            lr=training.lr,
            schedule=_find(SCHEDULES, training.schedule, ("training", "schedule")),
            batch_size=training.batch_size,
            epochs=training.epochs,
        )
        try:
            return recipe._with_optimizer_tried()
        except SpecError as error:
            raise error.within("training", *(("optimizer_options",) if error.loc else ())) from None

    def _with_optimizer_tried(self) -> Recipe:
        """Return the recipe itself, once its optimizer has accepted the options."""
        self.make_optimizer([nn.Parameter(torch.zeros(()))])
        return self

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return the optimizer of this recipe for the parameters that want a gradient."""
        return make_optimizer(self.optimizer, parameters, self.lr, self.optimizer_options)

    def with_optimizer_option(self, option: str, value: Any) -> Recipe:
        """Return the recipe with one more argument of its optimizer.

        One that is zero so far is replaced: so a study switches off what an optimizer does by default.

        Raises:
            SpecError: If the training sets it already, or the optimizer does not take it.
        """
        if self.optimizer_options.get(option):
            raise SpecError(
                f"'{option}' is set both by the training's optimizer_options and by the regime; "
                "take it out of one of them"
            )
        if option not in OPTIMIZERS[self.optimizer].defaults:
            raise SpecError(f"optimizer '{self.optimizer}' takes no {option}; choose another optimizer")
        options = {**self.optimizer_options, option: value}
        return replace(self, optimizer_options=options)._with_optimizer_tried()

    def with_update(self, update: Update) -> Recipe:
        """Return the recipe with another update step.

        Raises:
            SpecError: If another part of the regime has replaced it already.
        """
        if self.update is not Step:
            raise SpecError("two parts of the regime replace the update step; keep one of them")
        return replace(self, update=update)

    def augmentation(self, data: Dataset) -> Augmentation:
        """Return what batches of ``data`` pass through before they are normalized.

        Raises:
            DataError: If the recipe augments and the dataset declares no augmentation.
        """
        if not self.augment:
            return _unchanged
        if data.augment is None:
            raise DataError(
                f"dataset '{data.name}' declares no augmentation; take 'augmentation' out of the regimes, or "
                "declare what suits the data in its 'augment'"
            )
        return data.augment


def check(training: spec.Training, regimes: Sequence[spec.Regime]) -> None:
    """Check every name and option of a training and of its regimes, without data.

    Raises:
        SpecError: At the first that is wrong; ``loc`` is relative to a study: ``("training", "optimizer")``,
            ``("regimes", 2, "sam", "rho")``.
    """
    for index, regime in enumerate(regimes):
        try:
            Recipe.from_spec(training, regime)
        except SpecError as error:
            if error.loc[0] == "regime":
                raise SpecError(error.message, ("regimes", index, *error.loc[1:])) from None
            raise


def _merged_options(training: spec.Training, optimizer: Entry) -> dict[str, Any]:
    options = dict(training.optimizer_options)
    if training.momentum is None:
        return options
    if "momentum" not in optimizer.defaults:
        takers = [name for name, entry in OPTIMIZERS.items() if "momentum" in entry.defaults]
        raise SpecError(
            f"optimizer '{optimizer.name}' takes no momentum; leave it out, or choose one that does: "
            f"{', '.join(takers)}",
            ("training", "momentum"),
        )
    if "momentum" in options:
        raise SpecError(
            "momentum is set twice, by the training and by its optimizer_options; take it out of one of them",
            ("training", "momentum"),
        )
    return {**options, "momentum": training.momentum}


def _find(registry: Registry, name: str, loc: tuple[str, ...]) -> Entry:
    try:
        return registry[name]
    except UnknownName as error:
        raise SpecError(str(error), loc) from None


def _unchanged(batch: Tensor, generator: torch.Generator) -> Tensor:
    return batch

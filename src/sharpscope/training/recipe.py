"""What a training does, apart from model and data: a study's training section as changed by a regime."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sharpscope import spec
from sharpscope.data import Dataset
from sharpscope.data.dataset import Augmentation
from sharpscope.errors import FAULTS, DataError, SharpscopeError, SpecError, UnknownName, one_line
from sharpscope.registry import Registration, Registry
from sharpscope.seeding import Stream
from sharpscope.training.averaging import LastIterate
from sharpscope.training.optimizers import OPTIMIZERS, before_step, clip, decay, follows_rate, make_optimizer
from sharpscope.training.registry import REGIMES, SCHEDULES
from sharpscope.training.schedules import constant, warmed_up
from sharpscope.training.steps import Step, Update

Schedule = Callable[[int, int], float]
LossFunction = Callable[[Tensor, Tensor], Tensor]
# Inputs, class indices, number of classes and draws to mixed inputs and probabilities of the classes.
Mix = Callable[[Tensor, Tensor, int, torch.Generator], tuple[Tensor, Tensor]]
# Outputs of a batch, as the model returned them, to what is added to its mean loss.
Penalty = Callable[[Tensor], Tensor]
# Watches a model for a block, to know more of it than its outputs.
Penalizing = Callable[[nn.Module], AbstractContextManager[Penalty]]
# Changes a model for a block.
Attachment = Callable[[nn.Module], AbstractContextManager[None]]
Averaging = Callable[[nn.Module, Callable[[], Iterable[Tensor]]], LastIterate]


@dataclass(frozen=True)
class EarlyStopping:
    """Stopping by data that is held out of the training data.

    Attributes:
        share: Of the training data that is held out, the same in every class.
        patience: Epochs without a smaller loss after which the training ends.
    """

    share: float
    patience: int


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
        loss: Outputs and targets of a batch to their mean loss; None for that of the data's task.
        accumulate: Micro-batches a step.
        clip_norm: The largest norm of the gradient that the optimizer is given; None for no limit.
        precision: What forward passes compute in, a name in ``PRECISIONS``.
        channels_last: Whether the weights of 2-D convolutions have the channels last.
        compile: Whether the forward and backward passes of the steps are compiled.
        decoupled_decay: Share of each weight, times the learning rate, that is taken off before the optimizer steps.
        undecayed: Tells the parameters that no weight decay shrinks; None if all are.
        image_changes: What batches pass through after the dataset's own augmentation, each with a stream of its name.
        mix: What mixes the samples of a normalized batch, or None.
        penalties: What is added to the loss.
        attachments: What else is attached to the model while it is trained.
        relabel: What the training data passes through for other labels, with the training's stream, or None.
        tasks: By the name of a part of the regime, the tasks that it is defined for, where these are not all.
        averaging: What the training results in, made from the model and its clean training data.
        early_stopping: Whether and how to stop by held-out data.
        stop_at_loss: The loss on the clean training data that ends the training; None for none.
        checkpoints_at_loss: Such losses at whose first crossing the weights are kept.
        check_loss_every: Steps to which a crossing is told; None for the end of its epoch.
        watched: Steps after which the weights are kept; 0 is before the first.
    """

    optimizer: str = "sgd"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 0.05
    schedule: Schedule = constant
    batch_size: int = 64
    epochs: int = 30
    update: Update = Step
    augment: bool = False
    loss: LossFunction | None = None
    accumulate: int = 1
    clip_norm: float | None = None
    precision: str = "float32"
    channels_last: bool = True
    compile: bool = False
    decoupled_decay: float = 0.0
    undecayed: Callable[[nn.Parameter], bool] | None = None
    image_changes: Mapping[str, Augmentation] = field(default_factory=dict)
    mix: Mix | None = None
    penalties: tuple[Penalizing, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    relabel: Callable[[Dataset, Stream], Dataset] | None = None
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    averaging: Averaging = LastIterate
    early_stopping: EarlyStopping | None = None
    stop_at_loss: float | None = None
    checkpoints_at_loss: tuple[float, ...] = ()
    check_loss_every: int | None = None
    watched: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse counts and numbers that no training has; a study's file is checked, a regime of one's own is not.

        Raises:
            SpecError: If there is one.
        """
        for name in ("batch_size", "epochs", "accumulate"):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
                raise SpecError(f"{name} of a recipe must be a whole number of at least 1, got {count!r}")
        for name in ("lr", "decoupled_decay", "clip_norm", "stop_at_loss"):
            number = getattr(self, name)
            if number is None and getattr(Recipe, name) is None:
                continue
            if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= float(number) < math.inf:
                raise SpecError(f"{name} of a recipe must be a finite number of at least 0, got {number!r:.60}")

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
                recipe = _changed(recipe, entry, part.options)
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
            schedule=warmed_up(_schedule(training), training.warmup_steps),
            batch_size=training.batch_size,
            epochs=training.epochs,
            accumulate=_micro_batches(training),
            clip_norm=training.clip_norm,
            precision=training.precision,
            channels_last=training.channels_last,
            compile=training.compile,
            stop_at_loss=training.stop_at_loss,
            checkpoints_at_loss=tuple(training.checkpoints_at_loss),
            check_loss_every=training.check_loss_every,
        )
        try:
            recipe = recipe._with_optimizer_tried()
        except SpecError as error:
            raise error.within("training", *(("optimizer_options",) if error.loc else ())) from None
        _check_rate(recipe)
        return recipe

    @property
    def _optimizing(self) -> tuple[Any, ...]:
        """What the optimizer is made of."""
        return self.optimizer, dict(self.optimizer_options), self.lr, self.decoupled_decay, self.clip_norm

    def _with_optimizer_tried(self) -> Recipe:
        """Return the recipe itself, once its optimizer has accepted the options and taken a step with them."""
        parameter = nn.Parameter(torch.zeros(2, 2))
        optimizer = self.make_optimizer([parameter])
        parameter.grad = torch.ones_like(parameter)
        try:
            optimizer.step()
        except FAULTS as error:
            raise SpecError(
                f"optimizer '{self.optimizer}' takes no step with its options: {one_line(error):.300}; change them"
            ) from None
        return self

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return the optimizer of this recipe for the parameters that want a gradient.

        Decoupled decay and clipping are part of its step, so that they act where and when it acts, whatever the update
        step does before.
        """
        optimizer = make_optimizer(self.optimizer, parameters, self.lr, self.optimizer_options, self.undecayed)
        if self.decoupled_decay:
            before_step(optimizer, partial(decay, coefficient=self.decoupled_decay, spared=self.undecayed))
        if self.clip_norm is not None:
            before_step(optimizer, partial(clip, limit=self.clip_norm))
        return optimizer

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
        return self.with_only("update step", update=update)

    def with_only(self, what: str, **change: Any) -> Recipe:
        """Return the recipe with a field replaced that one part of a regime alone may replace.

        Args:
            what: The field in words.
            **change: The field and its value.

        Raises:
            SpecError: If another part of the regime has replaced it already.
        """
        (name,) = change
        if getattr(self, name) is not getattr(Recipe, name):
            raise SpecError(f"two parts of the regime replace the {what}; keep one of them")
        return replace(self, **change)

    def training_data(self, data: Dataset, stream: Stream) -> Dataset:
        """Return a dataset as it is trained on: with the labels that the regime gives it, all else the same.

        Applied to its own result it changes nothing, so measures and scores may see the same data as the training.

        Args:
            data: The dataset.
            stream: That of the training.

        Raises:
            DataError: If a part of the regime is not defined for the task of the data.
        """
        for part, tasks in self.tasks.items():
            if data.task.name not in tasks:
                raise DataError(
                    f"the regime '{part}' is defined for {' and '.join(tasks)}, and dataset '{data.name}' is one of "
                    f"{data.task.name}; take it out of the regimes"
                )
        return data if self.relabel is None else self.relabel(data, stream)

    def augmentation(self, data: Dataset) -> Augmentation:
        """Return the dataset's own augmentation where the recipe wants it, and what changes nothing otherwise.

        Raises:
            DataError: If the recipe augments in a way that does not suit the data: by an augmentation that the dataset
                does not declare, or by changes of images where there are none.
        """
        if self.image_changes and (data.train_inputs.ndim != 4 or data.train_inputs.dtype != torch.uint8):
            raise DataError(
                f"'{next(iter(self.image_changes))}' changes images in bytes, and dataset '{data.name}' has none; "
                "take it out of the regimes"
            )
        if not self.augment:
            return _unchanged
        if data.augment is None:
            raise DataError(
                f"dataset '{data.name}' declares no augmentation; take 'augmentation' out of the regimes, or "
                "declare what suits the data in its 'augment'"
            )
        return data.augment


def _changed(recipe: Recipe, entry: Registration, options: Mapping[str, Any]) -> Recipe:
    """Return a recipe as a regime changes it; whatever its function raises or returns instead is told."""
    complete = entry.complete(options)
    try:
        changed = entry(recipe, **complete)
        if isinstance(changed, Recipe) and changed._optimizing != recipe._optimizing:
            changed._with_optimizer_tried()
    except UnknownName as error:
        raise SpecError(str(error)) from None
    except SharpscopeError:
        raise
    except FAULTS as error:
        raise SpecError(f"the regime '{entry.name}' fails: {one_line(error):.300}") from error
    if not isinstance(changed, Recipe):
        raise SpecError(f"the regime '{entry.name}' should return a changed recipe, and returns {changed!r:.60}")
    return changed if entry.facts is None else replace(changed, tasks={**changed.tasks, entry.name: entry.facts.tasks})


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


def _merged_options(training: spec.Training, optimizer: Registration) -> dict[str, Any]:
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


def _schedule(training: spec.Training) -> Schedule:
    entry = _find(SCHEDULES, training.schedule, ("training", "schedule"))
    try:
        options = entry.complete(training.schedule_options)
    except SpecError as error:
        raise error.within("training", "schedule_options") from None
    return partial(entry, **options) if options else entry


def _check_rate(recipe: Recipe) -> None:
    """See that the optimizer follows the schedule.

    Raises:
        SpecError: If the learning rate changes, and the optimizer has the first one in mind.
    """
    if recipe.schedule not in {constant, SCHEDULES["constant"]} and not follows_rate(recipe.make_optimizer):
        raise SpecError(
            f"optimizer '{recipe.optimizer}' looks at the learning rate in its first step alone, so that a schedule or "
            "a warm-up has no effect; leave them out, or choose another optimizer",
            ("training", "schedule"),
        )


def _micro_batches(training: spec.Training) -> int:
    if training.accumulate > training.batch_size:
        raise SpecError(
            f"{training.accumulate} micro-batches are more than the {training.batch_size} samples of a batch; "
            "accumulate fewer, or raise batch_size",
            ("training", "accumulate"),
        )
    return training.accumulate


def _find(registry: Registry, name: str, loc: tuple[str, ...]) -> Registration:
    try:
        return registry[name]
    except UnknownName as error:
        raise SpecError(str(error), loc) from None


def _unchanged(batch: Tensor, generator: torch.Generator) -> Tensor:
    return batch

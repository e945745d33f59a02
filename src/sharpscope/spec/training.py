"""The recipe of training that all runs of a study share, as it is written."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationInfo, field_validator

from sharpscope.spec.structure import Strict


class Training(Strict):
    """The recipe that all regimes of a study share.

    Attributes:
        optimizer: A name from ``torch.optim``, in any case: ``sgd``, ``adam``, ``adamw``.
        lr: The learning rate at the beginning.
        momentum: For optimizers that take one; the optimizer's own default when None.
        optimizer_options: Further arguments of the optimizer.
        batch_size: Samples a step; the last batch of an epoch is smaller where they do not divide.
        epochs: Passes over the training data.
        schedule: How the learning rate changes from step to step, over the whole training.
        schedule_options: Further arguments of the schedule.
        warmup_steps: Steps over which it first rises linearly; the schedule runs over the rest.
        accumulate: Micro-batches that a step goes through one after another, to need less memory. The step is still
            on the gradient of the whole batch, but for what looks at several samples: BatchNorm normalizes each
            micro-batch by itself (its running statistics change once), as ``relative_flatness`` with ``normalize``.
        clip_norm: The largest norm of the gradient that an optimizer is given, over all parameters; None for no limit.
        precision: What forward passes compute in; weights and optimizer stay in float32. ``fp16`` scales the loss.
        channels_last: Whether the weights of 2-D convolutions lie with the channels last in memory while training, as
            convolutions on CPUs are fastest, or as PyTorch makes them. A model with strided 1x1 convolutions of very
            few channels, whose gradients PyTorch gets wrong so, is left as it is.
        compile: Let PyTorch compile the forward and backward passes of the steps. That takes up to minutes for each
            size of a batch, with ``accumulate`` and BatchNorm for each micro-batch, and needs a C++ compiler.
        stop_at_loss: End after the first epoch whose loss on the clean training data is at most this.
        checkpoints_at_loss: Losses on the clean training data at whose first crossing the weights are kept.
        check_loss_every: Steps to which either loss is matched: where an epoch has reached it, the weights are those of
            the step, among every so many, at which it did. Until the epoch ends, their weights are held in memory. None
            for the weights at the end of the epoch.
    """

    optimizer: str = "sgd"
    lr: PositiveFloat = 0.05
    momentum: float | None = None
    optimizer_options: dict[str, Any] = Field(default_factory=dict)
    batch_size: PositiveInt = 64
    epochs: PositiveInt = 30
    schedule: str = "constant"
    schedule_options: dict[str, Any] = Field(default_factory=dict)
    warmup_steps: NonNegativeInt = 0
    accumulate: PositiveInt = 1
    clip_norm: PositiveFloat | None = None
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    stop_at_loss: PositiveFloat | None = None
    checkpoints_at_loss: list[PositiveFloat] = Field(default_factory=list)
    check_loss_every: PositiveInt | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # To Python, True is 1.
        takes_other = isinstance(cls.model_fields[str(info.field_name)].default, str | bool)
        if isinstance(value, bool) and not takes_other:
            raise ValueError(f"training.{info.field_name}: expected a number, got {value!r}")
        return value

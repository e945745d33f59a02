"""Thin adapters of a monitor to training frameworks, whose packages are imported when an adapter is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from sharpscope.errors import SharpscopeError
from sharpscope.extras import optional
from sharpscope.measurement import Measurements
from sharpscope.monitor.monitor import SharpnessMonitor


def lightning_callback(
    monitor: SharpnessMonitor, *, network: Callable[[Any], nn.Module] | None = None, log: bool = True
) -> Any:
    """Return a callback for a Lightning ``Trainer``: ``Trainer(callbacks=[lightning_callback(monitor)])``.

    It measures at the global step, which counts the optimizer's steps, on the first process alone. Checkpoints hold
    the record, so that it goes on with a training that goes on.

    Args:
        monitor: The monitor.
        network: Picks what is measured from the ``LightningModule``; the module itself when None, whose ``forward``
            must then map inputs to outputs.
        log: Whether values go to the trainer's loggers too, as ``sharpness/<key>``.

    Returns:
        A ``lightning.pytorch.Callback``.

    Raises:
        SharpscopeError: If Lightning is not installed.
    """
    callback: Any = optional("lightning.pytorch", "lightning", "lightning_callback", SharpscopeError).Callback
    pick = network or (lambda module: module)

    class SharpnessCallback(callback):
        state_key = "SharpnessMonitor"

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self._step(trainer, pl_module)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self._step(trainer, pl_module)

        def _step(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.is_global_zero:
                return
            found = monitor.step(pick(pl_module), trainer.global_step)
            if found and log:
                for logger in trainer.loggers:
                    logger.log_metrics(_metrics(found), step=trainer.global_step)

        def state_dict(self) -> dict[str, Any]:
            return monitor.state_dict()

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            monitor.load_state_dict(state_dict)

    return SharpnessCallback()


def hf_callback(
    monitor: SharpnessMonitor, *, network: Callable[[Any], nn.Module] | None = None, log: bool = True
) -> Any:
    """Return a callback for the Hugging Face ``Trainer``: ``Trainer(callbacks=[hf_callback(monitor)])``.

    It measures at the global step, which counts the optimizer's steps, on the first process alone.

    Args:
        monitor: The monitor, of batches that are mappings with "labels", as the trainer's collator makes them.
        network: Picks what is measured from the trainer's model; the model itself when None.
        log: Whether values go to the trainer's ``log_history`` too, as ``sharpness/<key>``.

    Returns:
        A ``transformers.TrainerCallback``.

    Raises:
        SharpscopeError: If transformers is not installed.
    """
    callback: Any = optional("transformers", "transformers", "hf_callback", SharpscopeError).TrainerCallback
    pick = network or (lambda model: model)

    class SharpnessCallback(callback):
        def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
            self._step(state, model)

        def on_step_end(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
            self._step(state, model)

        def _step(self, state: Any, model: nn.Module) -> None:
            if not state.is_world_process_zero:
                return
            found = monitor.step(pick(model), state.global_step)
            if found and log:
                state.log_history.append({**_metrics(found), "step": state.global_step})

    return SharpnessCallback()


def _metrics(found: Measurements) -> Mapping[str, float]:
    return {f"sharpness/{key}": estimate.value for key, estimate in found.items()}

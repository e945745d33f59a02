"""Trying a model on a few samples before any run of it: what would fail in every run is refused at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from sharpscope.data import Case, Condition, Dataset
from sharpscope.errors import FAULTS, SpecError, one_line
from sharpscope.models import build_untrained, build_weightless
from sharpscope.seeding import Stream
from sharpscope.spec import Component
from sharpscope.study.work.devices import CPU
from sharpscope.study.work.few import FEW, few_of
from sharpscope.study.work.outputs import predict_under
from sharpscope.training.modes import mode

# Of the weights that a training holds at a time: they themselves, those that it began with, and their gradient.
COPIES = 3


def try_condition(condition: Condition, dataset: Dataset, model: nn.Module | None = None) -> None:
    """Apply a condition to a few test samples, at each of its severities, and evaluate a model under it.

    Args:
        condition: It. One of data is given the whole dataset, since it may look for its samples anywhere in there.
        dataset: The data.
        model: An untrained one for them; None to apply the condition alone.

    Raises:
        SpecError: If it fails.
    """
    few = replace(dataset, test_inputs=dataset.test_inputs[:FEW], test_targets=dataset.test_targets[:FEW])
    # Searches take long, and are alike at all severities.
    searched = condition.facts.kind == "attack"
    for severity in condition.facts.severities[: 1 if searched else None]:
        try:
            altered = condition.apply(dataset if condition.facts.kind == "data" else few, severity, Stream("dry_run"))
            if model is not None:
                if not searched:
                    altered = replace(altered, inputs=altered.inputs[:FEW], targets=altered.targets[:FEW])
                predict_under(model, dataset, [(Case(condition.name, severity), altered)], CPU)
        except FAULTS as error:
            raise SpecError(
                f"the condition '{condition.name}' fails at severity {severity} on dataset '{dataset.name}': "
                f"{one_line(error):.300}; mend it, or leave out the scores that read predictions under it"
            ) from error


def check_model(component: Component, dataset: Dataset, device: str) -> nn.Module:
    """Make a model and let it go forward and backward over a few samples.

    Args:
        component: The model.
        dataset: Its data.
        device: Where to try it.

    Returns:
        The model without memory for its weights, where it can be made so.

    Raises:
        SpecError: If it cannot be made, is too large for this machine, or cannot be trained and evaluated.
    """
    shape, outputs = dataset.input_shape, dataset.outputs
    options = {option: value for option, value in component.options.items() if option != "pretrained"}
    try:
        weightless = build_weightless(component.name, shape, outputs, **options)
    except SpecError:
        # Some models look at values while they are made; what is wrong with others shows again.
        weightless = None
    if weightless is not None:
        _check_size(component.name, weightless)
    make = partial(build_untrained, component.name, shape, outputs, Stream("dry_run"), **options)
    model = make()
    _check_weights(component.name, model)
    few, model = few_of(dataset), model.to(device)
    check = _ModelCheck(component.name, model, few, device)
    with Stream("dry_run").governing(device):
        check.check()
    check.check_stored(make)
    return model if weightless is None else weightless


def _check_size(name: str, model: nn.Module) -> None:
    if not hasattr(os, "sysconf"):  # Windows does not tell
        return
    size = COPIES * sum(tensor.nbytes for tensor in model.state_dict().values())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise SpecError(
            f"training model '{name}' takes {size / 1e9:.3g} GB for its weights and their gradient alone, and this "
            f"machine has {memory / 1e9:.3g} GB of memory; make it smaller"
        )


def _check_weights(name: str, model: nn.Module) -> None:
    trained = 0
    for parameter_name, parameter in model.named_parameters():
        if isinstance(parameter, nn.UninitializedParameter):
            raise SpecError(f"model '{name}' has a lazy layer, '{parameter_name}' has no shape yet; give it its sizes")
        if (parameter.is_floating_point() or parameter.is_complex()) and parameter.dtype != torch.float32:
            raise SpecError(
                f"model '{name}' has weights in {_short(parameter.dtype)} ('{parameter_name}'), and weights are "
                "trained and measured in float32; make it in float32, training.precision is for faster arithmetic"
            )
        trained += parameter.requires_grad
    if not trained:
        raise SpecError(f"model '{name}' has no parameter that wants a gradient, so there is nothing to train")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class _ModelCheck:
    """One model on a few samples.

    Args:
        name: What messages call the model.
        model: On the device.
        few: The samples.
        device: The device.
    """

    def __init__(self, name: str, model: nn.Module, few: Dataset, device: str) -> None:
        self._name = name
        self._model = model
        self._few = few
        self._inputs = few.normalize(few.train_inputs.to(device))
        self._targets = few.train_targets.to(device)

    def check(self) -> None:
        """Evaluate, then train.

        Raises:
            SpecError: If something about the model would fail every run.
        """
        before = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}
        with mode(self._model, train=False):
            self._check_outputs(self._outputs("in eval mode"))
        for name, tensor in self._model.state_dict().items():
            if name not in before or not torch.equal(tensor, before[name]):
                raise SpecError(
                    f"model '{self._name}' changes '{name}' in eval mode, so that what it says depends on what it was "
                    "asked before; let it do so in train mode only"
                )
        # Layers such as BatchNorm take no single sample; whether there will be one is asked of each recipe.
        if len(self._inputs) > 1:
            with mode(self._model, train=True):
                self._check_gradient(self._outputs("in train mode"))

    def check_stored(self, make: Callable[[], nn.Module]) -> None:
        """Make the model again and give it the weights, as all that comes after a training does.

        Args:
            make: Makes it as it was before it saw samples in train mode.

        Raises:
            SpecError: If it is another function then.
        """
        again = make().to(self._inputs.device)
        try:
            again.load_state_dict(self._model.state_dict())
        except FAULTS as error:
            raise SpecError(f"model '{self._name}' cannot read its own weights: {one_line(error):.300}") from error
        if not torch.allclose(self._said_by(self._model), self._said_by(again), 1e-3, 1e-5, equal_nan=True):
            raise SpecError(
                f"model '{self._name}' has something outside of its state_dict that training changes and its outputs "
                "depend on, so that it is another function once its weights are stored and read; make that a parameter "
                "or a persistent buffer"
            )

    @torch.no_grad()
    def _said_by(self, model: nn.Module) -> Tensor:
        with mode(model, train=False), Stream("dry_run").governing(self._inputs.device):
            outputs: Tensor = model(self._inputs)
        return outputs

    def _outputs(self, when: str) -> Tensor:
        """Return what the model says, once it is of the right form."""
        data = f"{len(self._inputs)} samples of dataset '{self._few.name}'"
        try:
            outputs = self._model(self._inputs)
        except FAULTS as error:
            raise SpecError(f"model '{self._name}' fails on {data} {when}: {one_line(error):.300}") from error
        wanted = (len(self._inputs), self._few.outputs)
        if not isinstance(outputs, Tensor):
            raise SpecError(
                f"model '{self._name}' returns a {type(outputs).__name__} {when}, and should return the outputs alone, "
                f"a tensor [samples, {self._few.outputs}]; wrap it in one that does"
            )
        if tuple(outputs.shape) != wanted:
            raise SpecError(
                f"model '{self._name}' returns a tensor of shape {tuple(outputs.shape)} for {data} {when}, and should "
                f"return one of shape {wanted}: {self._few.objective.output}"
            )
        if outputs.dtype != torch.float32:
            raise SpecError(
                f"model '{self._name}' returns {_short(outputs.dtype)} {when}, and should return float32: what is "
                "computed from its outputs needs that precision"
            )
        if not torch.isfinite(outputs).all():
            raise SpecError(
                f"model '{self._name}' returns NaN or infinite values for {data} {when}, before any training; mend it, "
                "or look for such values in the data"
            )
        return outputs

    def _check_outputs(self, outputs: Tensor) -> None:
        reason = self._few.objective.refused(outputs.detach(), lambda: outputs)
        if reason is not None:
            raise SpecError(f"model '{self._name}' returns {reason}")

    def _check_gradient(self, outputs: Tensor) -> None:
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        try:
            loss = self._few.objective.loss(outputs, self._targets)
            gradient = torch.autograd.grad(loss, trained, allow_unused=True)
        except FAULTS as error:
            raise SpecError(f"model '{self._name}' has no gradient: {one_line(error):.300}") from error
        if all(part is None for part in gradient):
            raise SpecError(f"model '{self._name}' has no gradient: its outputs depend on none of its parameters")

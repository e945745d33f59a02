"""Eval mode, for a block, of models that may do more than switch modes when they are put in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from sharpscope.curvature.risk.state import ForwardState
from sharpscope.errors import SharpscopeError

# Ways in which embeddings have other gradients than those of what they compute.
_GRADIENT_OPTIONS = ("sparse", "scale_grad_by_freq")


@contextlib.contextmanager
def as_evaluated(model: nn.Module) -> Iterator[list[str]]:
    """Have a model for a block as its own ``eval()`` makes it; afterwards it is bit for bit as before.

    Yields:
        What that changes besides modes: the names of parameters, buffers, plain tensors and numbers. Weights that are
        merged for speed are such, as LoRA layers do it.

    Raises:
        SharpscopeError: If it cannot be put in eval mode.
    """
    modes = _modes(model)
    # Only code of the module's own can change more, and only that is worth a copy of the parameters.
    state = ForwardState(model.modules(), parameters=True) if any(map(_switches_itself, model.modules())) else None
    try:
        try:
            model.eval()
        except NotImplementedError as error:
            raise SharpscopeError(
                f"the model {type(model).__name__} cannot be put in eval mode ({error}); measure the model that it "
                "was exported from"
            ) from error
        yield state.changed() if state is not None else []
    finally:
        if state is not None:
            state.restore_changed()
        _set_modes(modes)


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode for a block, with gradients of embeddings that are dense and the loss's own.

    The modes are those that the model's own ``eval()`` gives, since a module may keep parts in train mode. All else
    that it changes is put back at once: with weights that are merged, some parameters would have no gradient any more,
    and ``train()`` would give the weights back up to rounding only. Whether the model computes the same so is seen in
    the first look.
    """
    before = _modes(model)
    with as_evaluated(model):
        evaluated = _modes(model)
    try:
        _set_modes(evaluated)
        with _plain_embeddings(model):
            yield
    finally:
        _set_modes(before)


def _modes(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    return [(module, module.training) for module in model.modules()]


def _set_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training


def _switches_itself(module: nn.Module) -> bool:
    """Tell whether a module has a way of its own to be put in a mode."""
    methods = ("train", "eval")
    return any(name in vars(module) or getattr(type(module), name) is not getattr(nn.Module, name) for name in methods)


@contextlib.contextmanager
def _plain_embeddings(model: nn.Module) -> Iterator[None]:
    """Let embeddings have the dense gradients of what they compute for a block."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
    before = [(module, name, getattr(module, name)) for module in embeddings for name in _GRADIENT_OPTIONS]
    padded = [module for module in embeddings if isinstance(module, nn.Embedding) and _withholds_a_row(module)]
    try:
        for embedding, name, _ in before:
            setattr(embedding, name, False)
        for embedding in padded:
            # Not by padding_idx = None, which the model may read to make a mask.
            vars(embedding)["forward"] = partial(_look_up, embedding)
        yield
    finally:
        for embedding in padded:
            del vars(embedding)["forward"]
        for embedding, name, value in before:
            setattr(embedding, name, value)


def _withholds_a_row(embedding: nn.Embedding) -> bool:
    """Tell whether the gradient of an embedding leaves out the row of its padding, which its outputs depend on.

    Bags leave the row out of their outputs too. A forward of the user's own, or one that another measurement around
    this one has put there already, is left alone.
    """
    return (
        embedding.padding_idx is not None
        and type(embedding).forward is nn.Embedding.forward
        and "forward" not in vars(embedding)
    )


def _look_up(embedding: nn.Embedding, input: Tensor) -> Tensor:
    return F.embedding(input, embedding.weight)

"""Residual branches that are left out at random, in a model that need not know of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from sharpscope.errors import SpecError
from sharpscope.models.residual import Branch, residual_branches
from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES


@contextmanager
def dropping_branches(model: nn.Module, *, rate: float) -> Iterator[None]:
    """Drop residual branches of a model for a block, sample by sample, while those who declare them are in train mode.

    Args:
        model: Its branches are those that ``residual_branches`` finds.
        rate: Probability of the last branch to be dropped; it falls linearly to zero at the input.

    Raises:
        SpecError: If the model declares no residual branches.
    """
    branches = residual_branches(model)
    if not branches:
        raise SpecError(
            f"stochastic depth drops residual branches, and this model ({type(model).__name__}) declares none; leave "
            "it out, take a ResNet or a transformer, or give the model a method 'residual_branches' that returns the "
            "last module of each"
        )
    with ExitStack() as attached:
        for depth, branch in enumerate(branches, start=1):
            drop = partial(_drop, branch, rate * depth / len(branches))
            attached.callback(branch.end.register_forward_hook(drop).remove)
        yield


def _drop(branch: Branch, rate: float, end: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
    if not branch.owner.training:
        return None
    shape = (len(output), *[1] * (output.ndim - 1))
    kept = torch.rand(shape, device=output.device) >= rate
    # In half precision 1 / (1 - rate) would be rounded, and the mean with it.
    scale = kept.to(torch.promote_types(output.dtype, torch.float32)) / (1 - rate)
    return (output * scale).to(output.dtype)


@REGIMES.register()
def stochastic_depth(recipe: Recipe, *, rate: Annotated[float, Field(gt=0, lt=1)] = 0.5) -> Recipe:
    r"""Stochastic depth: residual branches are dropped, each sample's on its own, the deeper the more.

    Branch l of L is dropped with probability :math:`r \, l / L`, and divided by the probability to stay where it is
    kept: its mean is the branch itself, as evaluation has it. ResNets have a branch a block, transformers two; a model
    of one's own declares them in ``residual_branches``, and those of timm take ``{drop_path_rate: 0.1}`` among their
    ``arguments``. Drawn anew for every pass, also for the two passes of a sharpness-aware step. What is dropped is
    computed still, so the cost is that of plain training.

    Args:
        recipe: The recipe to change.
        rate: Probability of the last branch to be dropped. 0.5 is that of the paper, for networks of 110 layers and
            more; 0.1 is usual for transformers.

    Reference: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, with its linear rule; there a branch is
        dropped for the whole batch, and scaled in evaluation.
    """
    attachment = partial(dropping_branches, rate=rate)
    return replace(recipe, attachments=(*recipe.attachments, attachment))

"""Sharpness-aware minimization and its adaptive form."""

from __future__ import annotations

from functools import partial

from pydantic import PositiveFloat
from torch import nn
from torch.optim import Optimizer

from sharpscope.training.recipe import Recipe
from sharpscope.training.registry import REGIMES
from sharpscope.training.steps import Backward, Excursion, Pass, climb, gradients


class Sam(Excursion):
    """The optimizer's step on the gradient at the worst point nearby; it reports the pass at the weights.

    Args:
        model: Whose trained parameters are moved.
        optimizer: Takes the step.
        rho: Radius of the neighborhood.
        adaptive: Whether distances are relative to each weight.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, rho: float, adaptive: bool = False) -> None:
        super().__init__(model, optimizer, rho=rho)
        self.adaptive = adaptive

    def __call__(self, backward: Backward) -> Pass:
        """Take the step."""
        found = backward()
        with self.away():
            climb(*gradients(self.weights), self.rho, adaptive=self.adaptive)
            backward()
        self.optimizer.step()
        return found


@REGIMES.register()
def sam(recipe: Recipe, *, rho: PositiveFloat = 0.05, adaptive: bool = False) -> Recipe:
    """Sharpness-aware minimization: descend by the gradient at the worst point nearby.

    The second gradient is taken over the same samples as the first, with the same penalties added to the loss.

    Args:
        recipe: The recipe to change.
        rho: Radius of the neighborhood.
        adaptive: Measure distances relative to each weight (ASAM), which asks for a larger ``rho``.

    Reference: Foret et al., "Sharpness-Aware Minimization", ICLR 2021, Algorithm 1.
    """
    return recipe.with_update(partial(Sam, rho=rho, adaptive=adaptive))


@REGIMES.register()
def asam(recipe: Recipe, *, rho: PositiveFloat = 0.5) -> Recipe:
    """Adaptive sharpness-aware minimization: distances are relative to each weight.

    The same as ``sam`` with ``adaptive``, at the radius that its authors use. Every parameter is adapted, and there
    is no stabilizer: a weight of zero stays where it is in the ascent.

    Args:
        recipe: The recipe to change.
        rho: Radius of the neighborhood.

    Reference: Kwon et al., "ASAM", ICML 2021, Algorithm 1 with the normalization operator of absolute weights.
    """
    return sam(recipe, rho=rho, adaptive=True)

"""The optimizers of packs: the steps of ``torch.optim``, each network with its own learning rate and decay.

Their formulas and the order of their operations are those of PyTorch, so that a network comes out as it would alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from sharpscope.training.optimizers import OPTIMIZERS
from sharpscope.training.packs.factors import Factor, changed, factor, is_zero, product
from sharpscope.training.packs.network import NotPacked
from sharpscope.training.packs.weights import Weights
from sharpscope.training.recipe import Recipe

# Of a learning rate or a decay: products of two have to be numbers in single precision.
_LARGEST = 1e18


class Gradient(Protocol):
    """The gradient of a batch where it is taken, which is computed where it is wanted."""

    def __call__(self, into: Weights, *, beta: Factor = 0.0, alpha: float = 1.0) -> None:
        """Leave ``beta`` times what was there plus ``alpha`` times the gradient."""


class Optimizer(ABC):
    """Takes steps with the weights of all networks.

    Args:
        weights: They are changed in place.
        recipes: Of the networks, in the order of the rows.

    Attributes:
        scalars: Options in which the networks may differ.
        others: Options in which they are alike.
    """

    scalars: ClassVar[tuple[str, ...]]
    others: ClassVar[tuple[str, ...]]

    def __init__(self, weights: Weights, recipes: Sequence[Recipe]) -> None:
        first = recipes[0]
        self.weights = weights
        self._options = complete_options(first)
        self._lr = factor([recipe.lr for recipe in recipes])
        for name in self.scalars:
            self._options[name] = factor([float(complete_options(recipe)[name]) for recipe in recipes])
        spared = first.undecayed
        self._decayed = None if spared is None else weights.of_each(lambda parameter: not spared(parameter))
        self._decay: Factor = self._options["weight_decay"]
        # Each is a decay of its own, as where a regime adds one to that of the optimizer.
        self._decoupled = [factor([recipe.decoupled_decay for recipe in recipes])]
        self._clip_norm = first.clip_norm
        self._scratch: Weights | None = None
        self.steps = 0

    @classmethod
    def check(cls, recipe: Recipe) -> None:
        """See that a recipe asks for nothing more.

        Raises:
            NotPacked: If it does.
        """
        told = {**recipe.optimizer_options}
        extra = sorted(name for name, value in told.items() if name not in (*cls.scalars, *cls.others) and value)
        if extra:
            raise NotPacked(f"the option {extra[0]} of an optimizer")
        # Factors of batched products have the precision of the weights, where PyTorch's own steps multiply in Python.
        if max(map(abs, numbers_of(recipe)), default=0.0) > _LARGEST:
            raise NotPacked(f"numbers above {_LARGEST:.0e} in an optimizer")

    def step(self, rate: float, gradient: Gradient) -> None:
        """Take a step.

        Args:
            rate: The factor on the learning rates.
            gradient: Of the batch.
        """
        lr = product(rate, self._lr)
        self._take(lr, gradient if self._clip_norm is None else self._clipped(gradient, self._clip_norm))
        self.steps += 1

    @abstractmethod
    def _take(self, lr: Factor, gradient: Gradient) -> None:
        """Take a step of this optimizer."""

    @abstractmethod
    def moments(self) -> Mapping[str, Weights]:
        """Return what later steps depend on, beside the weights."""

    def state(self, row: int) -> dict[str, Tensor]:
        """Return what later steps of a network depend on."""
        return {name: moment.row(row) for name, moment in self.moments().items()}

    def go_on(self, row: int, state: Mapping[str, Tensor]) -> None:
        """Go on from there; how many steps were taken is told apart."""
        for name, moment in self.moments().items():
            moment.put(row, state[name])

    def shrink(self, lr: Factor) -> None:
        """Take off each weight what decoupled decay wants, once the gradient is known."""
        for decay in self._decoupled:
            if not is_zero(decay):
                share = changed(product(lr, decay), lambda number: 1 - number)
                for kept, (weights,) in self.weights.pieces(share, which=self._decayed):
                    weights.mul_(kept)

    def add_decay(self, gradient: Weights, share: float = 1.0) -> None:
        """Add to a gradient what decay in the gradient wants."""
        _add(gradient, self.weights, product(share, self._decay), which=self._decayed)

    @property
    def scratch(self) -> Weights:
        """Where something can be computed."""
        if self._scratch is None:
            self._scratch = self.weights.zeros()
        return self._scratch

    def _clipped(self, gradient: Gradient, limit: float) -> Gradient:
        """Return a gradient whose norm, in each network, is at most the limit."""
        plain = self.weights.zeros()

        def clipped(into: Weights, *, beta: Factor = 0.0, alpha: float = 1.0) -> None:
            gradient(plain)
            factor = plain.spread((limit / (plain.norms() + 1e-6)).clamp_(max=1.0))
            for share, (numbers,) in into.pieces(beta):
                numbers.mul_(share) if share else numbers.zero_()
            into.flat.addcmul_(plain.flat, factor, value=alpha)

        return clipped


class Sgd(Optimizer):
    """Gradient descent with momentum. One product makes the gradient and adds it to the momentum."""

    scalars = ("momentum", "weight_decay")
    others = ("dampening", "nesterov", "foreach", "fused")

    @classmethod
    def check(cls, recipe: Recipe) -> None:
        """See that a recipe asks for nothing more, as ``Optimizer.check``."""
        super().check(recipe)
        # PyTorch dampens nothing then, so that networks with and without momentum would take steps of two kinds.
        if recipe.optimizer_options.get("dampening") and not recipe.optimizer_options.get("momentum"):
            raise NotPacked("dampening without momentum")

    def __init__(self, weights: Weights, recipes: Sequence[Recipe]) -> None:
        super().__init__(weights, recipes)
        self._velocity = weights.zeros()

    def _take(self, lr: Factor, gradient: Gradient) -> None:
        momentum, velocity = self._options["momentum"], self._velocity
        # The first gradient is the velocity itself, dampened or not, as in PyTorch.
        share = 1 - self._options["dampening"] if self.steps else 1.0
        if self._options["nesterov"]:
            self._take_ahead(lr, gradient, share)
            return
        gradient(velocity, beta=momentum, alpha=share)
        self.shrink(lr)
        self.add_decay(velocity, share)
        _add(self.weights, velocity, product(-1.0, lr))

    def _take_ahead(self, lr: Factor, gradient: Gradient, share: float) -> None:
        """Take the step of Nesterov, which needs the gradient beside the velocity."""
        momentum, velocity, plain = self._options["momentum"], self._velocity, self.scratch
        gradient(plain)
        self.shrink(lr)
        self.add_decay(plain)
        for kept, (numbers,) in velocity.pieces(momentum):
            numbers.mul_(kept)
        velocity.flat.add_(plain.flat, alpha=share)
        _add(plain, velocity, momentum)
        _add(self.weights, plain, product(-1.0, lr))

    def moments(self) -> Mapping[str, Weights]:
        """Return the velocity."""
        return {"velocity": self._velocity}


class Adam(Optimizer):
    """Adam, with the decay in the gradient or, as in AdamW, apart from it."""

    scalars = ("weight_decay",)
    others = ("betas", "eps", "foreach", "fused", "decoupled_weight_decay")

    def __init__(self, weights: Weights, recipes: Sequence[Recipe]) -> None:
        super().__init__(weights, recipes)
        self._first, self._second = weights.zeros(), weights.zeros()
        # AdamW has no such option: its decay always is.
        if self._options.get("decoupled_weight_decay", True):
            self._decoupled.append(self._decay)
            self._decay = 0.0

    def _take(self, lr: Factor, gradient: Gradient) -> None:
        (beta1, beta2), eps = self._options["betas"], self._options["eps"]
        plain = self.scratch
        gradient(plain)
        self.shrink(lr)
        self.add_decay(plain)
        step = self.steps + 1
        self._first.flat.lerp_(plain.flat, 1 - beta1)
        self._second.flat.mul_(beta2).addcmul_(plain.flat, plain.flat, value=1 - beta2)
        torch.sqrt(self._second.flat, out=plain.flat).div_((1 - beta2**step) ** 0.5).add_(eps)
        size = product(-1.0 / (1 - beta1**step), lr)
        for share, (weights, mean, deviation) in self.weights.pieces(size, self._first, plain):
            weights.addcdiv_(mean, deviation, value=share)

    def moments(self) -> Mapping[str, Weights]:
        """Return the moving averages."""
        return {"first": self._first, "second": self._second}


OPTIMIZERS_OF_PACKS: dict[str, type[Optimizer]] = {"sgd": Sgd, "adam": Adam, "adamw": Adam}


def numbers_of(recipe: Recipe) -> tuple[float, ...]:
    """Return the numbers of a recipe that networks of a pack may differ in."""
    own = complete_options(recipe)
    scalars = OPTIMIZERS_OF_PACKS[recipe.optimizer].scalars
    return (recipe.lr, recipe.decoupled_decay, *(float(own[name]) for name in scalars))


def complete_options(recipe: Recipe) -> dict[str, Any]:
    """Return the options of a recipe's optimizer with its defaults."""
    return OPTIMIZERS[recipe.optimizer].complete(recipe.optimizer_options)


def _add(target: Weights, source: Weights, share: Factor, which: Sequence[bool] | None = None) -> None:
    """Add a multiple of other vectors in place."""
    if not is_zero(share):
        for number, (numbers, others) in target.pieces(share, source, which=which):
            numbers.add_(others, alpha=number)

"""Conditions that search for inputs which a model gets wrong: each model has inputs of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sharpscope.condition import ConditionFacts
from sharpscope.data.draws import Draws
from sharpscope.data.registry import CONDITIONS

STEPS, RESTARTS = 20, 5
# Each way goes this much further than the distance that is allowed, so that it can reach the border from anywhere.
REACH = 2.5

Classify = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss that was minimized, ``[N]``; it has no gradient where a model is certain."""
    return functional.cross_entropy(logits, targets, reduction="none")


def margin(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how far the likeliest wrong class lies above the true one, ``[N]``: over 0 where a sample is wrong."""
    true = targets[:, None]
    others = logits.scatter(1, true, float("-inf")).amax(dim=1)
    return others - logits.gather(1, true)[:, 0]


def logits_ratio(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the margin by the distance of the best from the third best, ``[N]``: no scale of logits changes it.

    Of two classes it is the margin.
    """
    if logits.shape[1] < 3:
        return margin(logits, targets)
    best = logits.topk(3, dim=1).values
    return margin(logits, targets) / (best[:, 0] - best[:, 2] + 1e-12)


@CONDITIONS.register(
    facts=ConditionFacts(
        "attack",
        "Projected gradient descent",
        family="adversarial",
        severities=(1, 2, 4, 8, 64),
        passes=2 * STEPS * RESTARTS * 3,
        caveats=(
            "64 is for a check: a model that is right there has gradients that lead nowhere, and what it gets right at "
            "smaller distances says nothing.",
        ),
        differs="5 random starts of 20 steps for each of two losses; what is got wrong already is left alone",
        reference='Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018; the '
        'second loss: Croce & Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse '
        'Parameter-free Attacks", ICML 2020',
    )
)
def pgd(classify: Classify, images: Tensor, targets: Tensor, severity: int, draws: Draws) -> Tensor:
    """Images that differ by 1/255 times the severity in each value at most, searched for so that the model is wrong."""
    distance = severity / 255
    found, height = images.clone(), _margins(classify, images, targets)
    for loss in (cross_entropy, logits_ratio):
        for restart in range(RESTARTS):
            left = (height <= 0).nonzero()[:, 0]
            if len(left) == 0:
                return found
            start = distance * (2 * draws.uniform(f"{loss.__name__}-{restart}", *images.shape[1:])[left] - 1)
            points, heights = _climb(classify, images[left], targets[left], start, distance, loss)
            higher = heights > height[left]
            found[left[higher]], height[left[higher]] = points[higher], heights[higher]
    return found


def _climb(
    classify: Classify, images: Tensor, targets: Tensor, start: Tensor, distance: float, loss: Loss
) -> tuple[Tensor, Tensor]:
    """Return the points of the highest margin on a way up a loss within a distance of images, and these margins."""
    low, high = (images - distance).clamp(min=0), (images + distance).clamp(max=1)
    point = (images + start).clamp(low, high)
    best, height = point.clone(), torch.full((len(images),), float("-inf"), device=images.device)
    for step in range(STEPS + 1):
        point.requires_grad_()
        logits = classify(point)
        margins = margin(logits.detach(), targets)
        higher = margins > height
        best[higher], height[higher] = point.detach()[higher], margins[higher]
        if step < STEPS:
            (gradient,) = torch.autograd.grad(loss(logits, targets).sum(), point)
            point = (point.detach() + REACH * distance / STEPS * gradient.sign()).clamp(low, high)
    return best, height


@torch.no_grad()
def _margins(classify: Classify, images: Tensor, targets: Tensor) -> Tensor:
    return margin(classify(images), targets)

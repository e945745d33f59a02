"""Projected gradient ascent in a ball around theta, one step at a time, so that many can share their passes."""

from __future__ import annotations

import math
from typing import Literal

import torch

from sharpscope.curvature.passes.perturbation import Shift
from sharpscope.curvature.passes.reductions import norm_of
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.seeding import Stream

Norm = Literal["l2", "linf"]


class Ball:
    """The perturbations eps with |u| <= rho, where u = eps, or u = eps / |theta| entry by entry.

    Args:
        risk: Whose theta stands at the center.
        rho: The radius.
        norm: "l2" over all parameters jointly, or "linf".
        adaptive: Whether distances are relative to each weight; weights that are zero stay.
    """

    def __init__(self, risk: Risk, rho: float, norm: Norm, adaptive: bool) -> None:
        self._rho = rho
        self._norm = norm
        self._center = {name: p.to(risk.precise) for name, p in risk.parameters.items()}
        self._adaptive = adaptive

    @property
    def rho(self) -> float:
        """The radius."""
        return self._rho

    def center(self) -> Parameters:
        """Return u = 0."""
        return {name: torch.zeros_like(p) for name, p in self._center.items()}

    def random(self, stream: Stream) -> Parameters:
        """Return a random u: uniform on the sphere of radius rho (l2), or in the cube (linf)."""
        generator = stream.torch(next(iter(self._center.values())).device)
        draw = torch.randn if self._norm == "l2" else torch.rand
        u = {
            name: draw(p.shape, generator=generator, dtype=p.dtype, device=p.device) for name, p in self._center.items()
        }
        if self._norm == "linf":
            return {name: self._rho * (2 * x - 1) for name, x in u.items()}
        return _times(u, self._rho / norm_of(u.values()))

    def shift(self, u: Parameters) -> Shift:
        """Return the perturbation eps of u."""
        return Shift(self._scaled(u))

    def direction(self, stream: Stream) -> Parameters:
        """Return a random direction of length 1: to a corner of the cube for "linf"."""
        u = self.random(stream)
        return {name: x.sign() for name, x in u.items()} if self._norm == "linf" else _times(u, 1 / self._rho)

    def slope(self, gradient: Parameters) -> float:
        """Return how fast the risk can rise with the length of u, given its gradient in theta."""
        slope = self._scaled(gradient)
        if self._norm == "linf":
            return sum(float(x.abs().sum()) for x in slope.values())
        return norm_of(slope.values())

    def uphill(self, gradient: Parameters) -> Parameters:
        """Return the direction of length 1 along which u climbs most, given a gradient in theta that is not 0."""
        slope = self._scaled(gradient)
        if self._norm == "linf":
            return {name: x.sign() for name, x in slope.items()}
        return _times(slope, 1 / norm_of(slope.values()))

    def step(self, u: Parameters, direction: Parameters, size: float) -> Parameters:
        """Return the point of the ball nearest to u + size * direction."""
        moved = {name: x + size * direction[name] for name, x in u.items()}
        if self._norm == "linf":
            return {name: x.clamp(-self._rho, self._rho) for name, x in moved.items()}
        length = norm_of(moved.values())
        return moved if length <= self._rho else _times(moved, self._rho / length)

    def _scaled(self, tree: Parameters) -> Parameters:
        if not self._adaptive:
            return tree
        return {name: x * self._center[name].abs() for name, x in tree.items()}


class Ascent:
    """One ascent: says where to look next, and is told what was found there.

    Each step goes from the best point so far along its uphill direction, projected onto the ball. The step size begins
    at the diameter, so that the first step from the center ends on the sphere, and is halved after a step that brought
    nothing; this never leaves a maximum once it is there, and is fast where the risk is convex. Where there is no
    gradient, every direction is as good, and a random one is taken.

    Args:
        ball: Where.
        start: The first u.
        stream: Where random directions are drawn from.

    Attributes:
        best: The largest change of the risk seen, or one that is not finite.
        gain: How much the last look raised it.
        slope: How fast the risk rises with the length of u, at the first point.
    """

    def __init__(self, ball: Ball, start: Parameters, stream: Stream) -> None:
        self._ball = ball
        self._stream = stream
        self._looks = 0
        self.slope = math.nan
        self._from = start
        self._next = start
        self._direction = start
        self._size = 2 * ball.rho
        self.best = -math.inf
        self.gain = math.inf

    @property
    def point(self) -> Shift:
        """Where to look."""
        return self._ball.shift(self._next)

    def climb(self, change: float, gradient: Parameters) -> None:
        """Take in the change of the risk and its gradient at the point, and choose the next."""
        slope = self._ball.slope(gradient)
        self.slope = slope if self._looks == 0 else self.slope
        if self._improves(change):
            self._from = self._next
            flat = slope == 0
            random = self._stream.child("direction", self._looks)
            self._direction = self._ball.direction(random) if flat else self._ball.uphill(gradient)
        else:
            self._size /= 2
        self._looks += 1
        self._next = self._ball.step(self._from, self._direction, self._size)

    def arrive(self, change: float) -> None:
        """Take in the change of the risk at the last point."""
        self._improves(change)

    def _improves(self, change: float) -> bool:
        if not math.isfinite(self.best) and self.best != -math.inf:
            return False  # The risk overflowed at an earlier point, which no later one can mend.
        better = change > self.best or math.isnan(change)
        self.gain = change - self.best if better else 0.0
        if better:
            self.best = change
        return better


def _times(tree: Parameters, factor: float) -> Parameters:
    return {name: x * factor for name, x in tree.items()}

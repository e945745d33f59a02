"""A quadratic and a small network, each with a way to evaluate its gradient."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sharpscope.seeding import Stream
from sharpscope.training import Recipe
from sharpscope.training.gradient import Gradient, OnBatch
from sharpscope.training.steps import MiniBatch, Pass


class Point(nn.Module):
    """A point on a quadratic, its coordinates spread over two parameters."""

    def __init__(self, *values):
        super().__init__()
        self.first = nn.Parameter(torch.tensor(values[:1], dtype=torch.float64))
        self.rest = nn.Parameter(torch.tensor(values[1:], dtype=torch.float64))

    @property
    def values(self):
        return torch.cat([self.first, self.rest]).detach()

    def forward(self, inputs):
        return inputs + torch.cat([self.first, self.rest])


CURVATURE = torch.tensor([3.0, 0.5, 2.0], dtype=torch.float64)


def on_quadratic(point):
    """Loss sum(c x^2) / 2, so the gradient is c x."""
    point.zero_grad()
    x = point(0)
    loss = (CURVATURE * x**2).sum() / 2
    loss.backward()
    return Pass(loss.detach(), x.detach())


def small_net(batch_norm=True):
    with Stream("net").governing():
        layers = [nn.Linear(4, 6), *([nn.BatchNorm1d(6)] if batch_norm else []), nn.Tanh(), nn.Linear(6, 3)]
    return nn.Sequential(*layers).double()


INPUTS = torch.randn(8, 4, generator=Stream("inputs").torch(), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def on_batch(model):
    model.zero_grad()
    outputs = model(INPUTS)
    loss = cross_entropy(outputs, TARGETS)
    loss.backward()
    return Pass(loss.detach(), outputs.detach())


def descent(model, **options):
    return torch.optim.SGD(model.parameters(), **{"lr": 0.1, **options})


def on_samples(model, inputs, targets, loss=cross_entropy):
    """Return what training gives to update steps: the evaluation of a batch."""
    gradient = Gradient(model, Recipe(), loss, (), torch.device("cpu"))
    return OnBatch(gradient, MiniBatch(inputs, targets))


def on_quadratics(point, centers=None):
    """Evaluate the mean of quadratics sum(c (x + a)^2) / 2, a sample each with its own a; by default one at zero."""

    def loss(outputs, targets):
        return (CURVATURE * outputs**2).sum(dim=1).mean() / 2

    centers = torch.zeros(1, 3, dtype=torch.float64) if centers is None else centers
    return on_samples(point, centers, torch.zeros(len(centers)), loss=loss)

"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from sharpscope.data import Dataset
from sharpscope.seeding import Stream
from sharpscope.training.history import Epoch, History
from sharpscope.training.modes import channels_last, mode
from sharpscope.training.recipe import Loss, Recipe
from sharpscope.training.steps import Pass
from sharpscope.training.watch import Watch


def train(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    stream: Stream,
    *,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train a model in place by a recipe.

    The same stream gives the same weights to the bit, on the same device with the same number of threads. The
    order of the data depends on the stream alone, so regimes that share a stream see the same batches. The
    global random state is neither used nor changed.

    Args:
        model: Its initialization is where the training begins; it is moved to ``device``.
        data: The training split is used.
        recipe: How to train.
        stream: Orders the data, draws the augmentation, and seeds layers that draw themselves (dropout).
        device: Where to train; the training data lives there too.
        on_epoch: Called after each epoch with its record.

    Returns:
        A record of each epoch.

    Raises:
        Diverged: If a loss or a weight is NaN or infinite.
        DataError: If the recipe augments and the data declares no augmentation.
    """
    model.to(device)
    inputs, targets = data.train_inputs.to(device), data.train_targets.to(device)
    augment = recipe.augmentation(data)
    order, draws = stream.child("order").torch(), stream.child("augment").torch(device)
    with stream.child("layers").governing(device), mode(model, train=True), channels_last(model):
        optimizer = recipe.make_optimizer(model.parameters())
        update = recipe.update(model, optimizer)
        watch = Watch(recipe.epochs * math.ceil(len(inputs) / recipe.batch_size))
        for _ in range(recipe.epochs):
            permutation = torch.randperm(len(inputs), generator=order).to(device)
            for chosen in permutation.split(recipe.batch_size):
                lr = recipe.lr * recipe.schedule(watch.step, watch.steps)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                batch = data.normalize(augment(inputs[chosen], draws))
                found = update(partial(_backward, model, recipe.loss, batch, targets[chosen]))
                watch.see(found, targets[chosen])
            epoch = watch.close_epoch(lr)
            if on_epoch is not None:
                on_epoch(epoch)
        model.zero_grad()
        watch.check_weights(model)
    return watch.history


def _backward(model: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, *, synchronize: bool = True) -> Pass:
    model.zero_grad()
    outputs = model(inputs)
    value = loss(outputs, targets)
    value.backward()
    return Pass(value.detach(), outputs.detach())

"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import nn

from sharpscope.data import Dataset
from sharpscope.seeding import Stream
from sharpscope.training.beside import BesideWeights
from sharpscope.training.checkpoint import (
    Checkpoint,
    OptimizerState,
    RandomState,
    described,
    weights_digest,
)
from sharpscope.training.compilation import ForwardPass, compiled
from sharpscope.training.goals import Goals
from sharpscope.training.gradient import Gradient
from sharpscope.training.history import Epoch, History
from sharpscope.training.minibatches import MiniBatches, held_out
from sharpscope.training.modes import channels_last, mode
from sharpscope.training.observers import Guarded, Observer, Observers, Progress
from sharpscope.training.recipe import Penalty, Recipe
from sharpscope.training.recorder import HistoryRecorder
from sharpscope.training.watched import WatchedWeights


def train(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    stream: Stream,
    *,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[Epoch], None] | None = None,
    observers: Sequence[Observer] = (),
    checkpoint: Path | None = None,
    checkpoint_every: int = 1,
    checkpoint_pause: float = 0.0,
) -> History:
    """Train a model in place by a recipe.

    The same stream gives the same weights to the bit, on the same device with the same number of threads, whether or
    not the training was broken off and resumed. The order of the data depends on the stream alone, so regimes that
    share a stream see the same batches. The global random state is neither used nor changed.

    Args:
        model: Its initialization is where the training begins; it is moved to ``device``.
        data: The training split is used, with labels as ``recipe.training_data`` has them.
        recipe: How to train.
        stream: Orders the data, draws the augmentation, and seeds layers that draw themselves (dropout).
        device: Where to train; the training data lives there too.
        on_epoch: Called after each epoch with its record.
        observers: Who else sees each step and epoch; what they do to the model and to the global random state is undone
            after each call, and their state is kept in the checkpoint.
        checkpoint: A file that the training goes on from if it is there, and writes as it goes; the caller removes it.
        checkpoint_every: Epochs from one writing to the next.
        checkpoint_pause: Seconds from one writing to the next, at least; a training that is shorter writes nothing.

    Returns:
        A record of each epoch, how the training ended, and weights kept on the way.

    Raises:
        Diverged: If a loss or a weight is NaN or infinite, or no gradient is finite in half precision.
        DataError: If the recipe augments and the data declares no augmentation.
        CheckpointError: If the file is damaged, or belongs to another training.
        NotCompiled: If the recipe wants the model compiled, and this machine or PyTorch cannot.
    """
    device = torch.device(device)
    model.to(device)
    begun = {"data": data.digest, "initialization": weights_digest(model)} if checkpoint is not None else {}
    names = [type(observer).__qualname__ for observer in observers]
    data, spared = held_out(recipe.training_data(data, stream), recipe, stream)
    with _prepared(model, recipe, stream, device) as (forward, penalties):
        optimizer = recipe.make_optimizer(model.parameters())
        update = recipe.update(model, optimizer)
        batches = MiniBatches(data, recipe, stream, device)
        gradient = Gradient(model, recipe, recipe.loss or data.objective.loss, penalties, device, forward)
        progress = Progress(recipe.epochs * len(batches), recipe.epochs)
        recorder = HistoryRecorder(data.objective)
        result = recipe.averaging(model, batches.clean)
        goals = Goals(recipe, result, data, spared, device)
        watched = WatchedWeights(result, recipe.watched)
        further = Observers([Guarded(observer, model, device) for observer in observers])
        # In this order: the goals look at what the result is by then, and others at what is decided.
        everyone = Observers([recorder, result, goals, watched, further])
        saved = Checkpoint(
            checkpoint,
            {**described(recipe), **begun, "stream": stream.path, "steps": progress.steps, "observers": names},
            pause=checkpoint_pause,
            model=model,
            beside=BesideWeights(model),
            optimizer=OptimizerState(optimizer),
            update=update,
            batches=batches,
            scale=gradient.scale,
            progress=progress,
            history=recorder,
            result=result,
            goals=goals,
            watched=watched,
            observers=further,
            layers=RandomState(device),
        )
        saved.restore()
        while progress.epoch < progress.epochs and not goals.reached:
            for batch in batches:
                progress.lr = recipe.lr * recipe.schedule(progress.step, progress.steps)
                for group in optimizer.param_groups:
                    group["lr"] = progress.lr
                found = gradient.step(update, batch)
                progress.step += 1
                if gradient.scale.exhausted:
                    raise recorder.overflowed(progress.epoch + 1, progress)
                everyone.after_step(progress, batch, found)
            progress.epoch += 1
            everyone.after_epoch(progress)
            if progress.epoch % checkpoint_every == 0:
                saved.write()
            if on_epoch is not None:
                on_epoch(recorder.history.epochs[-1])
        everyone.settle(recorder.history)
        model.zero_grad()
        if gradient.scale.none_taken(progress.step):
            raise recorder.overflowed(progress.epoch, progress)
        recorder.check_weights(model, progress)
    return recorder.history


@contextmanager
def _prepared(
    model: nn.Module, recipe: Recipe, stream: Stream, device: torch.device
) -> Iterator[tuple[ForwardPass, list[Penalty]]]:
    """Put model and random state into the shape for training for a block.

    Yields:
        The forward pass of training, and what is added to the loss.
    """
    with stream.child("layers").governing(device), mode(model, train=True), ExitStack() as attached:
        if recipe.channels_last:
            attached.enter_context(channels_last(model))
        for attachment in recipe.attachments:
            attached.enter_context(attachment(model))
        penalties = [attached.enter_context(penalizing(model)) for penalizing in recipe.penalties]
        # After all that is compiled with the model is attached to it.
        yield attached.enter_context(compiled(model)) if recipe.compile else model, penalties

"""The training loop of a pack."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.training.averaging import LastIterate
from sharpscope.training.checkpoint import Checkpoint
from sharpscope.training.goals import Goals
from sharpscope.training.history import Diverged, History
from sharpscope.training.modes import denormals_flushed
from sharpscope.training.observers import Progress
from sharpscope.training.packs.losses import loss_of
from sharpscope.training.packs.members import PART, ByName, Member
from sharpscope.training.packs.minibatches import Batches, Orders
from sharpscope.training.packs.network import Network
from sharpscope.training.packs.optimizers import OPTIMIZERS_OF_PACKS, numbers_of
from sharpscope.training.packs.records import Records, divergence
from sharpscope.training.packs.steps import options_of, step_of
from sharpscope.training.packs.weights import Weights
from sharpscope.training.recipe import Recipe
from sharpscope.training.recorder import HistoryRecorder
from sharpscope.training.watched import WatchedWeights

# A loss that is not larger than asked by more than this share is computed once more, as a network alone has it.
_NEAR = 1e-3


def train_pack(
    members: Sequence[Member],
    *,
    device: str | torch.device = "cpu",
    checkpoint: Path | None = None,
    checkpoint_pause: float = 0.0,
    on_epoch: Callable[[int], None] | None = None,
) -> Iterator[tuple[Member, History | Diverged]]:
    """Train several networks together, each as ``train`` trains it alone, up to the rounding of sums.

    A member's result does not depend on the others: to the bit it is the same in any pack, on the same device with the
    same number of threads. The global random state is neither used nor changed.

    Args:
        members: Trainings with the same ``pack_key``.
        device: Where to train; the training data live there too.
        checkpoint: A file that the training goes on from if it is there, and writes as it goes; the caller removes it.
        checkpoint_pause: Seconds from one writing to the next, at least.
        on_epoch: Called after each epoch with its number, from 1 on.

    Yields:
        Each member when its training has ended, with its history, or with how it diverged. A checkpoint that is written
        later knows nothing of it any more.

    Raises:
        CheckpointError: If the file is damaged, or does not have all members.
    """
    # Those that are alike in numbers side by side; what is done with them is one operation.
    members = sorted(members, key=lambda member: numbers_of(member.recipe))
    pack = _Pack(members, torch.device(device))
    # A training that writes no checkpoint needs no digests of its models.
    parts = {} if checkpoint is None else {PART: ByName(pack, members)}
    saved = Checkpoint(checkpoint, {}, pause=checkpoint_pause, **parts)
    saved.restore()
    while pack.alive and pack.progress.epoch < pack.progress.epochs:
        with denormals_flushed():
            # All at once, since what is done with them is not to be done so.
            ended = list(pack.epoch())
        yield from ended
        saved.write()
        if on_epoch is not None:
            on_epoch(pack.progress.epoch)
    yield from pack.settle()


class _Pack:
    """The networks that are trained together, and all that changes with them.

    Attributes:
        alive: The row of each member whose training has not ended, by its number. There are two rows at least, since a
            single matrix takes another way through the libraries of linear algebra; what is in a row that is nobody's
            does not matter.
    """

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        self._members = list(members)
        self._device = device
        first = members[0].recipe
        self._data = [member.recipe.training_data(member.data, member.stream) for member in members]
        self._objective = self._data[0].objective
        network = Network.of(members[0].model)
        # Where biases are treated in a way of their own they stay by themselves.
        self._network = network.joined() if first.undecayed is None else network
        self._loss = loss_of(self._objective, first.loss)
        self._clean_loss = loss_of(self._objective)
        self._goals = [
            Goals(member.recipe, _result(member.model, device), data, None, device)
            for member, data in zip(members, self._data, strict=True)
        ]
        self._watched_steps = frozenset(first.watched)
        self._watched = [WatchedWeights(_result(member.model, device), first.watched) for member in members]
        rows = _in_company(range(len(members)))
        self._owners = rows
        self.alive = {member: row for row, member in reversed([*enumerate(rows)])}
        self._orders = Orders(
            [members[owner].stream for owner in rows], len(self._data[0].train_inputs), first.batch_size
        )
        self.progress = Progress(first.epochs * self._orders.steps, first.epochs)
        self._records = Records(len(rows), first.epochs, self._objective, self._loss)
        self._place(self._network.weights([members[owner].model for owner in rows], device))
        self._batches = Batches(
            [self._data[owner] for owner in rows],
            self._weights.flat,
            self._orders,
            ones=self._network.places[0].joined,
        )

    def _place(self, weights: Weights) -> None:
        """Let the rows have these weights, and an optimizer that has taken no step with them."""
        recipes = [self._members[owner].recipe for owner in self._owners]
        self._weights = weights
        self._optimizer = OPTIMIZERS_OF_PACKS[recipes[0].optimizer](weights, recipes)
        self._step = step_of(recipes[0])(weights, [options_of(recipe) for recipe in recipes])

    def epoch(self) -> Iterator[tuple[Member, History | Diverged]]:
        """Go once through the data; yield the members whose training ends."""
        held: list[tuple[int, Tensor]] = []
        factor = 0.0
        ended = replace(self.progress)
        end = self._weights.flat.clone() if self._waits else None
        for block in self._batches.epoch():
            outputs = []
            before = self.progress.step
            for inputs, targets in zip(block.inputs, block.targets, strict=True):
                factor = self._recipe.schedule(self.progress.step, self.progress.steps)
                backward = partial(self._gradient, inputs, targets)
                outputs.append(self._step(backward, self._optimizer, factor))
                self.progress.step += 1
                self._watch()
                if self._holds:
                    held.append((self.progress.step, self._weights.flat.clone()))
            losses = self._records.take(outputs, block.targets)
            if end is not None:
                yield from self._near(losses[0], Weights(end, self._network.places), ended)
            if not bool(losses.isfinite().all()):
                yield from self._diverged(losses, before)
        self.progress.epoch += 1
        self._records.close(factor)
        if not self._waits:
            yield from self._reached(held)
        self._close_ranks()

    def settle(self) -> Iterator[tuple[Member, History | Diverged]]:
        """Yield the members that are left, at the end of the last epoch."""
        for member in list(self.alive):
            self._load(member, self._weights)
            yield self._ended(member)

    def _watch(self) -> None:
        """Let weights be kept that are asked for by the step."""
        if self.progress.step in self._watched_steps:
            for member in self.alive:
                self._load(member, self._weights)
                self._watched[member].keep(self.progress.step)

    def _gradient(self, inputs: Tensor, targets: Tensor, weights: Weights, into: Weights, **factors: float) -> Tensor:
        return self._network.gradient(weights, inputs, targets, self._loss, into, **factors)

    @property
    def _recipe(self) -> Recipe:
        return self._members[0].recipe

    @property
    def _holds(self) -> bool:
        """Whether the weights after this step may be asked for at the end of the epoch."""
        every = self._recipe.check_loss_every
        return every is not None and self.progress.step % every == 0 and bool(self._limits())

    def _limits(self) -> dict[int, float]:
        """Return the next loss that each member waits for, if it does."""
        limits = {member: self._goals[member].next_loss for member in self.alive}
        return {member: limit for member, limit in limits.items() if limit is not None}

    @property
    def _waits(self) -> bool:
        """Whether the losses at the end of the last epoch are left to the next step, which sees all samples anyway."""
        recipe, progress = self._recipe, self.progress
        alike = self._orders.whole and recipe.loss is None and recipe.stop_at_loss is None
        return alike and 0 < progress.epoch < progress.epochs and bool(self._limits())

    def _reached(self, held: Sequence[tuple[int, Tensor]]) -> Iterator[tuple[Member, History | Diverged]]:
        """Keep weights where a loss was small enough at the end of an epoch; yield those whose training ends so."""
        if limits := self._limits():
            yield from self._near(
                self._clean_losses([self.alive[member] for member in limits]), self._weights, self.progress, held
            )

    def _near(
        self, losses: Tensor, weights: Weights, progress: Progress, held: Sequence[tuple[int, Tensor]] = ()
    ) -> Iterator[tuple[Member, History | Diverged]]:
        """Look at the members that are near to what they wait for as if each were alone.

        Args:
            losses: Of all rows, ``[R]``; of those that wait for nothing they are not looked at.
            weights: At the end of an epoch.
            progress: Then.
            held: Further steps of the epoch, with the weights after them.
        """
        for member, limit in self._limits().items():
            if not losses[self.alive[member]] <= limit * (1 + _NEAR):
                continue
            for step, flat in held:
                self._load(member, Weights(flat, self._network.places))
                self._goals[member].hold(step)
            self._load(member, weights)
            self._goals[member].after_epoch(progress)
            if self._goals[member].reached:
                yield self._ended(member)

    def _clean_losses(self, rows: Sequence[int]) -> Tensor:
        """Return the mean loss of each row over the training data, ``[R]``; at least that of some rows."""
        few = 2 * len(rows) < len(self._weights)
        chosen = _in_company(rows) if few else list(range(len(self._weights)))
        weights = self._weights.rows(chosen) if few else self._weights
        index = torch.tensor(chosen, device=self._device)
        outputs, targets = [], []
        for block in self._batches.in_order():
            inputs, theirs = (part[0, index] if few else part[0] for part in (block.inputs, block.targets))
            outputs.append(self._network.outputs(weights, inputs))
            targets.append(theirs)
        found = torch.full((len(self._weights),), math.nan, dtype=torch.float64)
        # On the CPU, since not every device has double precision.
        of_all, theirs = (torch.cat(parts, dim=1).cpu() for parts in (outputs, targets))
        found[chosen] = self._clean_loss.value(of_all.double(), theirs)
        return found

    def _diverged(self, losses: Tensor, before: int) -> Iterator[tuple[Member, Diverged]]:
        """Yield the members whose losses ``[steps, R]`` are not finite."""
        progress = Progress(self.progress.steps, self.progress.epochs, before, self.progress.epoch)
        for member, row in list(self.alive.items()):
            if not bool(losses[:, row].isfinite().all()):
                error = divergence(losses, row, progress, self._history(member))
                del self.alive[member]
                yield self._members[member], error

    def _ended(self, number: int) -> tuple[Member, History | Diverged]:
        """Return how the training of a member ended, whose model has the weights that it has ended with."""
        member = self._members[number]
        recorder = HistoryRecorder(self._objective)
        recorder.history = self._history(number)
        del self.alive[number]
        if not self._goals[number].reached:
            self._goals[number].come_to(self.progress.step)
        self._goals[number].settle(recorder.history)
        self._watched[number].settle(recorder.history)
        try:
            recorder.check_weights(member.model, self.progress)
        except Diverged as error:
            return member, error
        return member, recorder.history

    def _history(self, member: int) -> History:
        return History(self._records.epochs(self.alive[member], self._members[member].recipe.lr))

    def _load(self, member: int, weights: Weights) -> None:
        """Let the model of a member be what is in its row."""
        self._members[member].model.load_state_dict(weights.state(self.alive[member]))

    def _close_ranks(self) -> None:
        """Let go of rows that are nobody's, once they are half of all."""
        if not self.alive or 2 * len(self.alive) > len(self._weights) or len(self._weights) == 2:
            return
        chosen = _in_company(self.alive.values())
        moments, steps = self._optimizer.moments(), self._optimizer.steps
        self._owners = [self._owners[row] for row in chosen]
        self._place(self._weights.rows(chosen))
        for name, moment in self._optimizer.moments().items():
            moment.flat.copy_(moments[name].rows(chosen).flat)
        self._optimizer.steps = steps
        for part in (self._orders, self._batches, self._records):
            part.rows(chosen)
        self.alive = {member: row for row, member in enumerate(self.alive)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state, with that of each member whose training has not ended, by its number."""
        members = {member: self._state(member, row) for member, row in self.alive.items()}
        return {"progress": self.progress.state_dict(), "taken": self._optimizer.steps, "members": members}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, with every member."""
        self.progress.load_state_dict(state["progress"])
        self._optimizer.steps = state["taken"]
        for row, owner in enumerate(self._owners):
            found = state["members"][owner]
            self._weights.put(row, found["weights"])
            self._optimizer.go_on(row, found["moments"])
            self._orders.go_on(row, found["order"])
            self._records.go_on(row, found["records"])
            self._goals[owner].load_state_dict(found["goals"])
            self._watched[owner].load_state_dict(found["watched"])

    def _state(self, member: int, row: int) -> dict[str, Any]:
        return {
            "weights": self._weights.row(row),
            "moments": self._optimizer.state(row),
            "order": self._orders.state(row),
            "records": self._records.state(row),
            "goals": self._goals[member].state_dict(),
            "watched": self._watched[member].state_dict(),
        }


def _in_company(rows: Iterable[int]) -> list[int]:
    """Return rows, a single one twice."""
    found = list(rows)
    return found if len(found) > 1 else found * 2


def _result(model: nn.Module, device: torch.device) -> LastIterate:
    return LastIterate(model.to(device), lambda: ())

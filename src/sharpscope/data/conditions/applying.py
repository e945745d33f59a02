"""Applying conditions: from a dataset and a condition to what is evaluated in the place of the test set or the weights.

What each kind of condition is given and returns:

- of inputs: ``(images, severity, draws, *, options) -> images``, floats in [0, 1] of shape ``[N, C, H, W]``; what
  leaves [0, 1] is clipped. The draws belong to each image's place in its set.
- of an attack: ``(classify, images, targets, severity, draws, *, options) -> images``, where ``classify`` gives the
  logits of images, which are floats in [0, 1]; it can be differentiated.
- of weights: ``(weights, severity, stream, *, options) -> weights``, parameters by name; those that are left out of
  what is returned stay as they are, and so do buffers.
- of data: ``(dataset, severity, stream, *, options) -> (inputs, targets)``, in the form of the dataset's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sharpscope.benchmark import FAMILIES
from sharpscope.condition import Case, ConditionFacts, ConditionKind
from sharpscope.data.dataset import CorruptionSuite, Dataset
from sharpscope.data.draws import Draws
from sharpscope.data.registry import CONDITIONS
from sharpscope.errors import DataError, UnknownName
from sharpscope.registry import Registration
from sharpscope.seeding import Stream

# Images, and values of images, corrupted at a time; they bound the memory and, by the design of Draws, nothing else.
CHUNK, CHUNK_VALUES = 1024, 2**25
# Images that are attacked at a time.
ATTACKED = 256

Weights = dict[str, Tensor]


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    stream: Stream,
    *,
    first: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Tensor:
    """Return images under one corruption, which is a condition of inputs.

    The result for an image depends on its position in its set, never on the batch it comes in: corrupting a
    part with its position as ``first`` gives that part of the whole.

    Args:
        images: uint8 ``[N, C, H, W]``.
        name: Of a registered condition of inputs.
        severity: One of its severities: 1 (slight) to 5 (severe), if it declares no others.
        stream: Each case draws from its own child of it.
        first: Position of the first image in its set.
        options: Of the corruption, where it has any.

    Returns:
        uint8 images of the same shape.

    Raises:
        DataError: If the images are not bytes of four dimensions, or the condition is not of inputs or does not have
            the severity.
        UnknownName: If the corruption is unknown.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise DataError(
            f"corruptions need uint8 images of shape [N, C, H, W], got {images.dtype} of shape "
            f"{tuple(images.shape)}; leave them out for this dataset"
        )
    entry = CONDITIONS[name]
    if entry.facts.kind != "inputs":
        raise DataError(f"a corruption is a condition of inputs, and '{name}' is one of {entry.facts.kind}")
    if severity not in entry.facts.severities:
        known = ", ".join(map(str, entry.facts.severities))
        raise DataError(f"the severities of '{name}' are {known}, got {severity!r}")
    complete = entry.complete(options or {})
    result = torch.empty_like(images)
    length = max(1, min(CHUNK, CHUNK_VALUES // max(1, images[:1].numel())))
    for start in range(0, len(images), length):
        chunk = images[start : start + length]
        draws = Draws(stream.child(name, severity), first + start, len(chunk), images.device)
        damaged = entry(chunk.to(torch.float32) / 255, severity, draws, **complete)
        _check_images(name, damaged, chunk)
        # Averages of bytes often lie halfway between two. Rounding them up with a margin keeps the last bit
        # of the arithmetic, which may depend on the size of a batch, out of the result.
        result[start : start + length] = damaged.clamp(0, 1).mul(255).add(0.501).floor()
    return result


def _check_images(name: str, damaged: Tensor, chunk: Tensor) -> None:
    if damaged.shape != chunk.shape:
        raise DataError(
            f"a condition of inputs returns images in their own shape, got {tuple(damaged.shape)} from '{name}' for "
            f"{tuple(chunk.shape)}"
        )
    if not torch.isfinite(damaged).all():
        raise DataError(f"a condition of inputs returns numbers, got NaN or infinity from '{name}'")


@dataclass(frozen=True)
class Altered:
    """What is evaluated in one case.

    Attributes:
        inputs: Those of the test set, or what takes their place.
        targets: Of the inputs.
        alter: Maps parameters by name to those that take their place; None where the weights stay as they are.
        search: Maps a model, as a function of images in [0, 1], and its device to inputs that are searched for against
            it; None where the inputs are the same for all models.
    """

    inputs: Tensor
    targets: Tensor
    alter: Callable[[Weights], Weights] | None = None
    search: Callable[[Callable[[Tensor], Tensor], str], Tensor] | None = None

    def inputs_for(self, classify: Callable[[Tensor], Tensor], device: str) -> Tensor:
        """Return what a model is evaluated on: the inputs, or those that a search against it has found.

        Args:
            classify: The model, as a function of images in [0, 1]; in eval mode.
            device: Where it computes.
        """
        return self.inputs if self.search is None else self.search(classify, device)

    @contextlib.contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Give a model the weights of this case for a block; afterwards it is what it was, to the bit.

        Raises:
            DataError: If the altered weights do not fit the model.
        """
        if self.alter is None:
            yield
            return
        own = dict(model.named_parameters())
        kept = {name: parameter.detach().clone() for name, parameter in own.items()}
        try:
            with torch.no_grad():
                for name, changed in self.alter({name: p.clone() for name, p in kept.items()}).items():
                    _check_fits(name, changed, kept)
                    own[name].copy_(changed)
            yield
        finally:
            with torch.no_grad():
                for name, parameter in own.items():
                    parameter.copy_(kept[name])


def _check_fits(name: str, changed: Tensor, weights: Weights) -> None:
    if name not in weights or changed.shape != weights[name].shape:
        expected = f"shape {tuple(weights[name].shape)}" if name in weights else "no such weights"
        raise DataError(
            "a condition of weights returns them by their names and in their shapes, got "
            f"'{name}' of shape {tuple(changed.shape)}, where the model has {expected}"
        )


@dataclass(frozen=True)
class Condition:
    """A condition that a dataset, and a model of it, can be evaluated under.

    Attributes:
        name: Of a registered condition, or of one of a published suite: ``CIFAR-10-C/fog``.
        version: Of its definition.
        facts: What it declares.
        apply: Maps a dataset, a severity and a stream to what is evaluated.
    """

    name: str
    version: int
    facts: ConditionFacts
    apply: Callable[[Dataset, int, Stream], Altered]

    @property
    def cases(self) -> list[Case]:
        """One for each severity."""
        return [Case(self.name, severity, self.facts.kind, self.facts.family) for severity in self.facts.severities]


def _of_inputs(entry: Registration, dataset: Dataset, severity: int, stream: Stream) -> Altered:
    return Altered(corrupt(dataset.test_inputs, entry.name, severity, stream), dataset.test_targets)


def _of_attack(entry: Registration, dataset: Dataset, severity: int, stream: Stream) -> Altered:
    def search(classify: Callable[[Tensor], Tensor], device: str) -> Tensor:
        found = []
        pairs = zip(dataset.test_inputs.split(ATTACKED), dataset.test_targets.split(ATTACKED), strict=True)
        for index, (images, targets) in enumerate(pairs):
            draws = Draws(stream.child(entry.name, severity), index * ATTACKED, len(images), device)
            unit = images.to(device, torch.float32) / 255
            chunk = entry(classify, unit, targets.to(device), severity, draws, **entry.complete({})).detach()
            _check_images(entry.name, chunk, unit)
            found.append(chunk.cpu())
        return torch.cat(found)

    return Altered(dataset.test_inputs, dataset.test_targets, search=search)


def _of_weights(entry: Registration, dataset: Dataset, severity: int, stream: Stream) -> Altered:
    def alter(weights: Weights) -> Weights:
        changed: Weights = entry(weights, severity, stream.child(entry.name, severity), **entry.complete({}))
        return changed

    return Altered(dataset.test_inputs, dataset.test_targets, alter)


def _of_data(entry: Registration, dataset: Dataset, severity: int, stream: Stream) -> Altered:
    return Altered(*entry(dataset, severity, stream.child(entry.name, severity), **entry.complete({})))


_APPLIED: dict[ConditionKind, Callable[[Registration, Dataset, int, Stream], Altered]] = {
    "inputs": _of_inputs,
    "attack": _of_attack,
    "weights": _of_weights,
    "data": _of_data,
}


def conditions_of(dataset: Dataset, named: Collection[str] = ()) -> dict[str, Condition]:
    """Return the conditions that a dataset comes under, by name.

    Args:
        dataset: The data.
        named: Names that are asked for; those of a family, such as ``data:mnist``, of which there is no list, are
            there too.

    Published corruptions take the place of all other conditions of inputs; without these, images in bytes come under
    the registered ones, those of colors if they have three channels. Such images of classes can be attacked. All data
    come under conditions of weights and of data.
    """
    images = dataset.test_inputs.dtype == torch.uint8 and dataset.test_inputs.ndim == 4
    kinds: dict[ConditionKind, bool] = {
        "inputs": images and dataset.corrupted is None,
        "attack": images and bool(dataset.task.classes),
        "weights": True,
        "data": True,
    }
    colored = images and dataset.test_inputs.shape[1] == 3
    members = {**CONDITIONS, **{name: CONDITIONS[name] for name in named if name in CONDITIONS}}
    own = {
        name: Condition(name, entry.version, entry.facts, partial(_APPLIED[entry.facts.kind], entry))
        for name, entry in members.items()
        if kinds[entry.facts.kind] and (colored or not entry.facts.colored)
    }
    return own if dataset.corrupted is None else {**_published(dataset.corrupted), **own}


def _published(suite: CorruptionSuite) -> dict[str, Condition]:
    """Return the conditions of a suite."""

    def reading(corruption: str) -> Callable[[Dataset, int, Stream], Altered]:
        return lambda dataset, severity, stream: Altered(suite.images(corruption, severity), dataset.test_targets)

    names = {corruption: f"{suite.name}/{corruption}" for corruption in suite.corruptions}
    return {
        name: Condition(name, suite.version, facts_of(name), reading(corruption)) for corruption, name in names.items()
    }


def facts_of(name: str) -> ConditionFacts:
    """Return what is declared of a condition: a registered one, or one of a published suite.

    Raises:
        UnknownName: If it is neither.
    """
    suite, _, corruption = name.rpartition("/")
    if not suite or name in CONDITIONS:
        facts: ConditionFacts = CONDITIONS[name].facts
        return facts
    label = corruption.replace("_", " ").capitalize()
    return ConditionFacts("inputs", label, FAMILIES.get(corruption, ""), reference=f"the published files of {suite}")


def altered_cases(
    dataset: Dataset, conditions: Sequence[str] | None = None, stream: Stream | None = None
) -> Iterator[tuple[Case, Altered]]:
    """Yield what is evaluated in each case, one at a time, so that memory holds one altered test set.

    Args:
        dataset: Whose test set is evaluated.
        conditions: Names out of ``conditions_of(dataset)``; None for all of them.
        stream: Of the draws; None for the one that makes the cases of a dataset the same in every run.

    Yields:
        Each case of each condition, and what is evaluated in it.

    Raises:
        DataError: If a file of a published suite is missing or damaged.
        UnknownName: If a condition is not one of this dataset's.
    """
    offered = conditions_of(dataset, conditions or ())
    draws = Stream("corruptions", dataset.name) if stream is None else stream
    for name in offered if conditions is None else conditions:
        if name not in offered:
            raise UnknownName("condition", name, offered, f" of dataset '{dataset.name}'")
        for case in offered[name].cases:
            yield case, offered[name].apply(dataset, case.severity, draws)

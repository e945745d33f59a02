"""The predictions of one run: all that scores may see of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import numpy as np
from scipy.special import log_softmax

from sharpscope.errors import DataError
from sharpscope.probabilities import are_probabilities
from sharpscope.task import CLASSIFICATION, REGRESSION

if TYPE_CHECKING:
    # That of Python itself has a default from 3.13 on.
    from typing_extensions import TypeVar

    S = TypeVar("S", bound="Split | RegressionSplit", default="Split")
else:
    from typing import TypeVar

    S = TypeVar("S")


@dataclass(frozen=True)
class Split:
    """Outputs of a classifier on one fixed, clean set of samples.

    Attributes:
        logits: Shape ``[N, C]``.
        targets: Class indices, shape ``[N]``.

    Raises:
        DataError: If there are no samples, shapes or targets do not fit, a logit is NaN or infinite, or they are
            probabilities already.
    """

    stored_as: ClassVar[str] = "logits"

    logits: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        shape = self.logits.shape
        if len(shape) != 2 or 0 in shape or self.targets.shape != shape[:1]:
            raise DataError(
                "predictions need logits of shape [N, C] and N targets, at least one of each, "
                f"got shapes {shape} and {self.targets.shape}"
            )
        if not np.isfinite(self.logits).all():
            bad = np.count_nonzero(~np.isfinite(self.logits).all(axis=1))
            raise DataError(
                f"predictions need finite logits, got NaN or infinity for {bad} of {shape[0]} samples; "
                "the model has diverged or its inputs are damaged"
            )
        if are_probabilities(self.logits):
            raise DataError(
                f"predictions need logits, got probabilities: {shape[0]} samples with none below 0 and a sum of 1; "
                "leave out the model's last softmax, or make them by Split.of_probabilities"
            )
        low, high = self.targets.min(), self.targets.max()
        if not np.issubdtype(self.targets.dtype, np.integer) or low < 0 or high >= shape[1]:
            raise DataError(
                f"targets need to be integers in 0..{shape[1] - 1}, one class for each logit, "
                f"got {self.targets.dtype} in {low}..{high}"
            )

    @classmethod
    def of_probabilities(cls, probabilities: np.ndarray, targets: np.ndarray) -> Split:
        """Return the split of a model that gives the probabilities of classes, whose logits are their logarithms.

        Args:
            probabilities: Shape ``[N, C]``; those of a sample sum to 1, within rounding. A 0 stands for the smallest
                normal number of float64.
            targets: Class indices, shape ``[N]``.

        Raises:
            DataError: If they are no probabilities, or the targets do not fit.
        """
        if probabilities.ndim != 2 or not are_probabilities(probabilities):
            raise DataError(
                "probabilities must have the shape [N, C], of 2 classes or more, and in each sample none may be below "
                f"0 and their sum must be 1; got shape {probabilities.shape}"
            )
        return cls(np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny)), targets)

    @cached_property
    def log_probabilities(self) -> np.ndarray:
        """In float64, shape ``[N, C]``."""
        return log_softmax(self.logits.astype(np.float64), axis=1)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each sample; the lowest index where several are."""
        return self.logits.argmax(axis=1)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each prediction is right, shape ``[N]``."""
        return self.predicted == self.targets

    @cached_property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class, shape ``[N]``."""
        return np.exp(self.log_probabilities.max(axis=1))

    @cached_property
    def cross_entropy(self) -> float:
        """The mean of -log of the probability given to the true class, in nats."""
        return float(-np.take_along_axis(self.log_probabilities, self.targets[:, None], axis=1).mean())

    def basics(self) -> dict[str, float]:
        """Return the loss that is minimized, and the share of samples that are classified right."""
        return {"loss": self.cross_entropy, "accuracy": float(self.correct.mean())}


@dataclass(frozen=True)
class RegressionSplit:
    """Outputs of a model that predicts numbers, on one fixed, clean set of samples.

    Attributes:
        outputs: Shape ``[N, D]``.
        targets: Numbers, shape ``[N, D]``, or ``[N]`` where D is 1.

    Raises:
        DataError: If there are no samples, the shapes do not fit, or a number is NaN or infinite.
    """

    stored_as: ClassVar[str] = "outputs"

    outputs: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        shape = self.outputs.shape
        fitting = {shape, shape[:1]} if shape[1:] == (1,) else {shape}
        if len(shape) != 2 or 0 in shape or self.targets.shape not in fitting:
            raise DataError(
                "predictions of numbers need outputs of shape [N, D] and targets of the same shape, or [N] where D is "
                f"1, of one sample at least; got shapes {shape} and {self.targets.shape}"
            )
        for what, values in (("outputs", self.outputs), ("targets", self.targets)):
            bad = np.count_nonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
            if bad:
                raise DataError(
                    f"predictions need finite {what}, got NaN or infinity for {bad} of {shape[0]} samples; "
                    "the model has diverged or its data are damaged"
                )

    @cached_property
    def errors(self) -> np.ndarray:
        """Outputs minus targets in float64, shape ``[N, D]``."""
        return self.outputs.astype(np.float64) - self._wanted

    @property
    def mse(self) -> float:
        """The squared error, averaged over samples and outputs."""
        return float((self.errors**2).mean())

    @property
    def r2(self) -> float:
        """The share of the variance of the targets that is explained, all outputs together; NaN where there is none."""
        variance = ((self._wanted - self._wanted.mean(axis=0)) ** 2).mean()
        return 1.0 - self.mse / float(variance) if variance > 0 else float("nan")

    def basics(self) -> dict[str, float]:
        """Return the loss that is minimized, and R2."""
        return {"loss": self.mse, "r2": self.r2}

    @property
    def _wanted(self) -> np.ndarray:
        return self.targets.astype(np.float64).reshape(self.outputs.shape)


# Of each task.
SPLITS: dict[str, Any] = {CLASSIFICATION.name: Split, REGRESSION.name: RegressionSplit}


@dataclass(frozen=True)
class Corrupted:
    """Predictions on every corruption of the test set at every severity.

    Attributes:
        conditions: Names such as ``gaussian_noise-3``, K of them.
        predicted: Predicted classes, shape ``[K, N]``.
        confidence: Their probabilities, shape ``[K, N]``, half precision.

    Raises:
        DataError: If there are no conditions or the shapes do not fit.
    """

    conditions: tuple[str, ...]
    predicted: np.ndarray
    confidence: np.ndarray

    def __post_init__(self) -> None:
        shapes = self.predicted.shape, self.confidence.shape
        if not self.conditions or shapes[0] != shapes[1] or shapes[0][:1] != (len(self.conditions),):
            raise DataError(
                f"predictions under {len(self.conditions)} conditions need classes and confidences of shape "
                f"[{len(self.conditions)}, N], of one condition at least, got {shapes[0]} and {shapes[1]}"
            )

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The names of the corruptions, each once."""
        return tuple(dict.fromkeys(name.rpartition("-")[0] for name in self.conditions))

    def of(self, corruptions: Collection[str]) -> Corrupted:
        """Return the conditions of these corruptions alone, at all their severities.

        Raises:
            DataError: If there is none.
        """
        chosen = [i for i, name in enumerate(self.conditions) if name.rpartition("-")[0] in corruptions]
        names = tuple(self.conditions[i] for i in chosen)
        return Corrupted(names, self.predicted[chosen], self.confidence[chosen])


@dataclass(frozen=True)
class Predictions(Generic[S]):
    """What one trained model says about the clean training set, the test set, and corruptions of the latter.

    Attributes:
        train: On the training set.
        test: On the test set.
        corrupted: On corruptions of the test set, of a classifier of images.

    Raises:
        DataError: If the corrupted test sets are of another size than the test set.
    """

    train: S
    test: S
    corrupted: Corrupted | None = None

    def __post_init__(self) -> None:
        if self.corrupted is not None and self.corrupted.predicted.shape[1:] != self.test.targets.shape:
            raise DataError(
                f"corrupted test sets need the {len(self.test.targets)} samples of the clean one, "
                f"got {self.corrupted.predicted.shape[1]}"
            )

    def basics(self) -> dict[str, float]:
        """Return what every ledger has of a run, by the names of its columns."""
        train, test = self.train.basics(), self.test.basics()
        return {f"{where}_{name}": found[name] for name in test for where, found in (("train", train), ("test", test))}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return plain arrays, fit to be stored."""
        arrays = {
            f"{where}.{what}": getattr(split, what)
            for where, split in (("train", self.train), ("test", self.test))
            for what in (split.stored_as, "targets")
        }
        if self.corrupted is not None:
            names = "\n".join(self.corrupted.conditions).encode()
            arrays["corrupted.conditions"] = np.frombuffer(names, dtype=np.uint8)
            arrays["corrupted.predicted"] = self.corrupted.predicted
            arrays["corrupted.confidence"] = self.corrupted.confidence
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Predictions[Any]:
        """Return the predictions that ``to_arrays`` took apart."""
        corrupted = None
        if "corrupted.conditions" in arrays:
            conditions = tuple(arrays["corrupted.conditions"].tobytes().decode().split("\n"))
            corrupted = Corrupted(conditions, arrays["corrupted.predicted"], arrays["corrupted.confidence"])
        train, test = (_split(arrays, where) for where in ("train", "test"))
        return cls(train, test, corrupted)


def _split(arrays: Mapping[str, np.ndarray], where: str) -> Any:
    kind = next((kind for kind in SPLITS.values() if f"{where}.{kind.stored_as}" in arrays), Split)
    return kind(arrays[f"{where}.{kind.stored_as}"], arrays[f"{where}.targets"])

"""Splits: what a model says about one set of samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.special import logsumexp

from sharpscope.errors import DataError
from sharpscope.probabilities import are_probabilities
from sharpscope.safety.log_probabilities import log_softmax
from sharpscope.task import CLASSIFICATION, REGRESSION

# Of predictions under a condition all classes of each sample are kept where there are so many or fewer, and else the
# likeliest few.
WHOLE, TOP = 10, 5
# What is below has lost digits in single precision.
_DIGITS = 1e-36


def kept_classes(outputs: int) -> int:
    """Return how many classes of each sample are kept of predictions under a condition.

    Args:
        outputs: Number of classes.
    """
    return outputs if outputs <= WHOLE else TOP


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

    stored: ClassVar[tuple[str, ...]] = ("logits",)

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
        return log_softmax(self.logits.astype(np.float64))

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
    def sureness(self) -> np.ndarray:
        """-log(1 - ``confidence``), in the order of that and without an end: none is just certain, shape ``[N]``."""
        others = self.log_probabilities.copy()
        np.put_along_axis(others, self.predicted[:, None], -np.inf, axis=1)
        return -logsumexp(others, axis=1)

    @cached_property
    def losses(self) -> np.ndarray:
        """-log of the probability given to the true class, in nats, shape ``[N]``."""
        return -np.take_along_axis(self.log_probabilities, self.targets[:, None], axis=1)[:, 0]

    @cached_property
    def cross_entropy(self) -> float:
        """The mean of the ``losses``."""
        return float(self.losses.mean())

    @cached_property
    def briers(self) -> np.ndarray:
        """Squared distance of the probabilities from the true class, summed over classes, shape ``[N]``."""
        residuals = np.exp(self.log_probabilities)
        residuals[np.arange(len(residuals)), self.targets] -= 1.0
        return (residuals**2).sum(axis=1)

    def basics(self) -> dict[str, float]:
        """Return the loss that is minimized, and the share of samples that are classified right."""
        return {"loss": self.cross_entropy, "accuracy": float(self.correct.mean())}

    def condensed(self) -> TopSplit:
        """Return what is kept of predictions under a condition."""
        return TopSplit.of(self)

    @staticmethod
    def condensed_bytes(outputs: int) -> int:
        """Return the bytes that ``condensed`` takes for each sample, its target aside.

        Args:
            outputs: Number of classes.
        """
        return 8 + kept_classes(outputs) * (4 + np.min_scalar_type(outputs - 1).itemsize)


@dataclass(frozen=True)
class TopSplit:
    r"""What is kept of a classifier's outputs on one set of samples under a condition: four things a sample.

    They are what scores need that look at each sample by itself, without the logits of all classes:

    - *accuracy*: the likeliest class;
    - *calibration error* and *reliability*: whether it is right, and its probability;
    - *AURC* and *AUROC*: its probability in an order that does not tie samples that are nearly certain, which is why
      logarithms are kept: in single precision, probabilities above 1 - 3e-8 are all 1, and their logarithms still
      differ, or else those of the other classes;
    - *negative log-likelihood*: the log-probability of the true class, t;
    - *Brier score*: :math:`(1 - e^t)^2 + \sum_{c \ne y} p_c^2`. The sum is over the wrong classes, since that over
      all, :math:`1 - 2 e^t + \sum_c p_c^2`, would leave nothing but rounding of a sample that is nearly certain;
    - *accuracy within the best few*, and *margins* of log-probabilities: the best few classes.

    Probabilities at another temperature follow where ``top`` has all classes, that is up to ten of them; of more, the
    model is to be evaluated anew, by ``of`` with all ``classes``. All is in single precision, so that each
    log-probability is right to one part in 10 million.

    Attributes:
        log_true: Log-probability of the true class, float32 ``[N]``.
        log_top: Log-probabilities of the likeliest classes, the likeliest first, float32 ``[N, k]``; k is the number of
            classes where these are ten or fewer, and else 5.
        top: The indices of these classes, unsigned integers ``[N, k]``; of equal ones the lowest first.
        wrong_squares: Squares of the probabilities of all classes but the true one, added up, float32 ``[N]``.
        targets: Class indices, shape ``[N]``.

    Raises:
        DataError: If the shapes do not fit.
    """

    stored: ClassVar[tuple[str, ...]] = ("log_true", "log_top", "top", "wrong_squares")

    log_true: np.ndarray
    log_top: np.ndarray
    top: np.ndarray
    wrong_squares: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        count, shape = self.targets.shape, self.top.shape
        fits = self.log_true.shape == self.wrong_squares.shape == count and self.log_top.shape == shape
        if len(count) != 1 or len(shape) != 2 or shape[:1] != count or 0 in shape or not fits:
            raise DataError(
                "predictions under a condition need N log-probabilities of true classes, N sums of squares, [N, k] "
                f"likeliest classes with their log-probabilities, and N targets, got shapes {self.log_true.shape}, "
                f"{self.wrong_squares.shape}, {shape}, {self.log_top.shape} and {count}"
            )

    @classmethod
    def of(cls, split: Split, classes: int | None = None) -> TopSplit:
        """Return what is kept of a split.

        Args:
            split: The outputs.
            classes: How many of each sample; None for ``kept_classes``.
        """
        outputs = split.logits.shape[1]
        # By the logits: those of one sample may differ where log-probabilities round to the same number.
        top = np.argsort(-split.logits, axis=1, kind="stable")[:, : classes or kept_classes(outputs)]
        true = split.targets[:, None]
        log_true = np.take_along_axis(split.log_probabilities, true, axis=1)[:, 0]
        squares = np.exp(2.0 * split.log_probabilities)
        np.put_along_axis(squares, true, 0.0, axis=1)
        return cls(
            _single(log_true),
            _single(np.take_along_axis(split.log_probabilities, top, axis=1)),
            top.astype(np.min_scalar_type(outputs - 1)),
            _single(squares.sum(axis=1)),
            split.targets,
        )

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each sample; the lowest index where several are."""
        return self.top[:, 0]

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each prediction is right, shape ``[N]``."""
        return self.predicted == self.targets

    @cached_property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class, float64 ``[N]``."""
        return np.exp(self.log_top[:, 0].astype(np.float64))

    @cached_property
    def sureness(self) -> np.ndarray:
        """-log(1 - ``confidence``), in the order of that and without an end: none is just certain, float64 ``[N]``.

        Where the logarithm of the confidence has no digits left, it is by the other classes that are kept.
        """
        logs = self.log_top.astype(np.float64)
        own, others = logs[:, 0], logs.copy()
        others[:, 0] = -np.inf
        with np.errstate(divide="ignore"):
            return np.where(own > -_DIGITS, -logsumexp(others, axis=1), -np.log(-np.expm1(own)))

    @cached_property
    def losses(self) -> np.ndarray:
        """-log of the probability given to the true class, in nats, float64 ``[N]``."""
        return -self.log_true.astype(np.float64)

    @cached_property
    def cross_entropy(self) -> float:
        """The mean of the ``losses``."""
        return float(self.losses.mean())

    @cached_property
    def briers(self) -> np.ndarray:
        """Squared distance of the probabilities from the true class, summed over classes, float64 ``[N]``."""
        return np.expm1(self.log_true.astype(np.float64)) ** 2 + self.wrong_squares

    @cached_property
    def brier(self) -> float:
        """The mean of the ``briers``."""
        return float(self.briers.mean())

    def has_all(self, classes: int) -> bool:
        """Return whether all classes of each sample are kept, so that ``divided`` can be had."""
        return self.top.shape[1] == classes

    def divided(self, temperature: float | np.ndarray, classes: int) -> TopSplit:
        """Return what is kept of the outputs divided by a temperature; no prediction changes.

        Args:
            temperature: Positive; one number, or one for each sample.
            classes: The number of classes.

        Raises:
            DataError: If not all classes are kept: each counts in the probabilities of all others.
        """
        if not self.has_all(classes):
            raise DataError(
                f"probabilities at another temperature need all {classes} classes of each sample, and "
                f"{self.top.shape[1]} are kept; evaluate the model anew"
            )
        by = np.asarray(temperature, dtype=np.float64)
        logs = log_softmax(self.log_top.astype(np.float64) / (by[:, None] if by.ndim else by))
        true = self.top == self.targets[:, None]
        squares = np.where(true, 0.0, np.exp(2.0 * logs)).sum(axis=1)
        kept = kept_classes(classes)
        return TopSplit(
            _single(logs[true]), _single(logs[:, :kept]), self.top[:, :kept], _single(squares), self.targets
        )


def _single(values: np.ndarray) -> np.ndarray:
    """Return numbers in single precision; those below its range, of probabilities that are 0, at its end."""
    return np.maximum(values, np.finfo(np.float32).min).astype(np.float32)


@dataclass(frozen=True)
class RegressionSplit:
    """Outputs of a model that predicts numbers, on one fixed, clean set of samples.

    Attributes:
        outputs: Shape ``[N, D]``.
        targets: Numbers, shape ``[N, D]``, or ``[N]`` where D is 1.

    Raises:
        DataError: If there are no samples, the shapes do not fit, or a number is NaN or infinite.
    """

    stored: ClassVar[tuple[str, ...]] = ("outputs",)

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
        wanted = self._wanted
        # The mean of equal numbers may differ from them by rounding, which is no variance.
        spread = np.where(np.ptp(wanted, axis=0) > 0, wanted - wanted.mean(axis=0), 0.0)
        variance = (spread**2).mean()
        return 1.0 - self.mse / float(variance) if variance > 0 else float("nan")

    def basics(self) -> dict[str, float]:
        """Return the loss that is minimized, and R2."""
        return {"loss": self.mse, "r2": self.r2}

    @property
    def _wanted(self) -> np.ndarray:
        return self.targets.astype(np.float64).reshape(self.outputs.shape)

    def condensed(self) -> RegressionSplit:
        """Return what is kept of predictions under a condition: all."""
        return self

    @staticmethod
    def condensed_bytes(outputs: int) -> int:
        """Return the bytes that ``condensed`` takes for each sample, its target aside.

        Args:
            outputs: Number of outputs.
        """
        return 4 * outputs


# Of each task.
SPLITS: dict[str, Any] = {CLASSIFICATION.name: Split, REGRESSION.name: RegressionSplit}

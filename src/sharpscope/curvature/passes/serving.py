"""Who waits for what in a pass over the data, so that what fails costs no more than those who asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sharpscope.curvature.passes.evaluation import Evaluation, Need, Reduction
from sharpscope.errors import FAULTS

Requests = Mapping[str, Sequence[Reduction]]
OnFailure = Callable[[str, BaseException], None]

# What is there of an evaluation that was kept from an earlier pass.
_KEPT = Need.OUTPUTS | Need.GRAPH | Need.DERIVATIVES


@dataclass(eq=False)
class _Fed:
    """A reduction that is fed, and the keys of those who wait for it: its own and those of its followers."""

    reduction: Reduction
    waiting: list[str]


class Serving:
    """The reductions that a pass feeds, each for as long as someone waits for it.

    Args:
        requests: What is summed, by a key of who asked for it.
        on_failure: Called with the key of one who cannot be served, and what was raised; nothing is fed for it any
            longer, and the others go on, unless this raises.
    """

    def __init__(self, requests: Requests, on_failure: OnFailure) -> None:
        self._on_failure = on_failure
        self._fed: list[_Fed] = []
        for key, reductions in requests.items():
            try:
                for reduction in reductions:
                    self._take(key, reduction)
            except FAULTS as error:
                self._fail([key], error)
        self._requests = requests

    def _take(self, key: str, reduction: Reduction) -> None:
        for fed in self._fed:
            if reduction.follow(fed.reduction):
                fed.waiting.append(key)
                return
        self._fed.append(_Fed(reduction, [key]))

    def is_in_vain(self) -> bool:
        """Tell whether no one waits any longer of those who asked."""
        return bool(self._requests) and not self._fed

    @property
    def needs(self) -> Need:
        """What the reductions need of a batch, all together."""
        needs = Need.NOTHING
        for fed in self._fed:
            needs |= fed.reduction.needs
        return needs

    @property
    def any_order(self) -> bool:
        """Whether batches that were kept from an earlier pass may come first."""
        return not self.needs & ~_KEPT and all(fed.reduction.any_order for fed in self._fed)

    def feed(self, evaluation: Evaluation) -> None:
        """Let every reduction take a batch in."""
        for fed in tuple(self._fed):
            # Those who waited may have failed by another reduction just now.
            error = _raised(fed.reduction, evaluation) if fed.waiting else None
            if error is not None:
                self._fail(fed.waiting, error)
        del evaluation  # the traceback of an error keeps this frame

    def _fail(self, keys: Sequence[str], error: BaseException) -> None:
        keys = tuple(dict.fromkeys(keys))
        for fed in self._fed:
            fed.waiting = [key for key in fed.waiting if key not in keys]
        self._fed = [fed for fed in self._fed if fed.waiting]
        for key in keys:
            self._on_failure(key, error)


def _raised(reduction: Reduction, evaluation: Evaluation) -> BaseException | None:
    """Return what is raised when a reduction takes a batch in, or was raised in the place of what it needs."""
    for need, refusal in evaluation.refused.items():
        if need in reduction.needs:
            return refusal
    try:
        reduction.update(evaluation)
    except FAULTS as error:
        return error
    return None

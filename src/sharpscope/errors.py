"""Errors that a user can act on: what was expected, what came, what to do."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Mapping

__all__ = [
    "DataError",
    "HeadNotFound",
    "NotDefined",
    "NotDeterministic",
    "SharpscopeError",
    "SpecError",
    "UnknownName",
]

# What code of the user's own may raise when it fails: ``sys.exit`` too, which would else end a command, or a worker, as
# if its work were done.
FAULTS = (Exception, SystemExit)
# Names that a message lists; of more it gives the number.
_LISTED = 80


class SharpscopeError(ValueError):
    """Base of every error raised on purpose; its message is one clear sentence."""


class UnknownName(SharpscopeError, KeyError):
    """A name that no registry (or no set of options) knows; a ``KeyError`` too, since registries are mappings."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        super().__init__(f"unknown {kind} '{name}'{where}{suggest(name, known)}")

    def __str__(self) -> str:
        # A KeyError would show its message in quotes.
        return str(self.args[0])


class NotDefined(SharpscopeError):
    """A measure that has no value for this model, loss or data, where others have one."""


class HeadNotFound(NotDefined):
    """The model's outputs are not linear in the weights of a final linear layer."""


class NotDeterministic(SharpscopeError):
    """Two evaluations of the same risk differ, so no property of it can be measured."""


class DataError(SharpscopeError):
    """A dataset that is missing, damaged or unfit for what was asked."""


class SpecError(SharpscopeError):
    """A study that cannot be run as written.

    Args:
        message: The sentence for the user, without the place.
        loc: Where in the study: the keys and indices that lead to the value, as ``("regimes", 2)``.
    """

    def __init__(self, message: str, loc: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.loc = loc

    def within(self, *prefix: str | int) -> SpecError:
        """Return the same error, seen from further outside."""
        return SpecError(self.message, (*prefix, *self.loc))


def one_line(error: BaseException) -> str:
    """Return an error as one line.

    >>> one_line(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero'
    >>> one_line(SystemExit(0))
    'it calls sys.exit(0)'
    """
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    if isinstance(error, SystemExit):
        return f"it calls sys.exit({error.code!r})"
    text = " ".join(str(error).split())
    return text if isinstance(error, SharpscopeError) else f"{type(error).__name__}: {text}"


def let_go(error: BaseException) -> None:
    """Free what the frames of an error still hold, such as the tensors of a batch, where the error itself is kept."""
    chain: list[BaseException] = []
    held: BaseException | None = error
    while held is not None and held not in chain:
        traceback.clear_frames(held.__traceback__)
        chain.append(held)
        held = held.__cause__ or held.__context__


def by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the keys that share each reason, in the order of the first.

    >>> by_reason({"margin": "no head", "ece": "no data", "head_norm": "no head"})
    {'no head': ['margin', 'head_norm'], 'no data': ['ece']}
    """
    keys: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        keys.setdefault(reason, []).append(key)
    return keys


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint that follows an unknown name: the near names first, and all of them where they are not too many.

    Names that differ by case alone are near.

    >>> suggest("smm", ["sam", "baseline"]), suggest("SAM", ["sam"])
    ("; did you mean 'sam'? (known: baseline, sam)", "; did you mean 'sam'? (known: sam)")
    >>> suggest("smm", ["sam", *map(str, range(99))])
    "; did you mean 'sam'? (known: 100 names)"
    """
    choices = sorted(set(known))
    by_case = {choice.lower(): choice for choice in choices}
    near = [by_case[found] for found in difflib.get_close_matches(name.lower(), by_case, n=3, cutoff=0.5)]
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    listed = (", ".join(choices) or "none") if len(choices) <= _LISTED else f"{len(choices)} names"
    return f"{hint} (known: {listed})"

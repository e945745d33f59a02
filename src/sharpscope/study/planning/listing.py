"""What there is to choose from, for a reader at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sharpscope.errors import UnknownName
from sharpscope.registry import Registry


def _measures() -> Registry:
    # The package of the measures registers them.
    import sharpscope.measurement  # noqa: F401
    from sharpscope.curvature.measure import MEASURES

    return MEASURES


def _scores() -> Registry:
    from sharpscope.safety import SCORES

    return SCORES


def _datasets() -> Registry:
    from sharpscope.data import DATASETS

    return DATASETS


def _conditions() -> Registry:
    from sharpscope.data import CONDITIONS

    return CONDITIONS


def _models() -> Registry:
    from sharpscope.models import MODELS

    return MODELS


def _regimes() -> Registry:
    from sharpscope.training import REGIMES

    return REGIMES


def _executors() -> Registry:
    from sharpscope.study.work.executors import EXECUTORS

    return EXECUTORS


# Each is a function, so that listing one kind imports no other.
REGISTRIES: dict[str, Callable[[], Registry]] = {
    "measures": _measures,
    "scores": _scores,
    "datasets": _datasets,
    "models": _models,
    "regimes": _regimes,
    "conditions": _conditions,
    "executors": _executors,
}


def listing(what: str) -> Mapping[str, str]:
    """Return the names of a list with their summaries.

    Args:
        what: A key of ``REGISTRIES``, "studies" or "claims".

    Raises:
        UnknownName: If there is no such list.
    """
    if what == "studies":
        from sharpscope.study.source.presets import presets

        return presets()
    if what == "claims":
        from sharpscope.study.source.claims import known_claims

        return {name: claim.title for name, claim in known_claims().items()}
    if what not in REGISTRIES:
        raise UnknownName("list", what, [*REGISTRIES, "studies", "claims"])
    registry = REGISTRIES[what]()
    return {name: entry.summary for name, entry in (*registry.items(), *registry.families.items())}

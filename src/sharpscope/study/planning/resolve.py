"""Names and options against the registries, with the place of whatever does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from sharpscope.curvature.measure import MEASURES
from sharpscope.errors import SharpscopeError, SpecError
from sharpscope.registry import Registration, Registry
from sharpscope.spec import Component, Loc
from sharpscope.store.documents import plain
from sharpscope.study.work.requested import RequestedValue

T = TypeVar("T")


def at(loc: Loc, call: Callable[[], T]) -> T:
    """Return what ``call`` returns; its errors become errors of the study at ``loc``.

    Raises:
        SpecError: With ``loc`` in front of what the error itself knows of its place.
    """
    try:
        return call()
    except SpecError as error:
        raise error.within(*loc) from None
    except SharpscopeError as error:
        raise SpecError(str(error), loc) from None


def entry(registry: Registry[Any], name: str, loc: Loc) -> Registration[Any]:
    """Return a member of a registry.

    Raises:
        SpecError: At ``loc``, if it has no such member or cannot import it.
    """
    return at(loc, lambda: registry[name])


def completed(registry: Registry[Any], component: Component, loc: Loc) -> Component:
    """Return a component with all of its options and the version of its definition."""
    member = entry(registry, component.name, (*loc, "name"))
    options = at(loc, lambda: member.complete(component.options))
    return Component(name=component.name, options=plain(options), version=member.version)


def reduced(registry: Registry[Any], component: Component) -> Component:
    """Return a component as it belongs into an identity: without the options that are at their defaults."""
    member = registry[component.name]
    options = plain(member.reduced(component.options))
    return Component(name=component.name, options=options, version=member.version)


def measure_request(written: Mapping[str, Any], subset: int | None, loc: Loc) -> RequestedValue:
    """Return ``{"measure": name, "subset": samples, **options}`` with all options filled in.

    Args:
        written: As in the study; ``subset`` may be missing.
        subset: What counts then.
        loc: Where in the study it stands.
    """
    options = dict(written)
    own = options.pop("subset", subset)
    if own is not None and (isinstance(own, bool) or not isinstance(own, int) or own < 1):
        raise SpecError(f"the subset that a measure is taken on is a number of samples, got {own!r}", (*loc, "subset"))
    return replace(request(MEASURES, options, loc), subset=own)


def request(registry: Registry[Any], written: Mapping[str, Any], loc: Loc) -> RequestedValue:
    """Return ``{"measure": name, **options}``, or the like of a score, with all options filled in."""
    options = dict(written)
    name = options.pop(registry.kind)
    if not isinstance(name, str):
        raise SpecError(f"the name of a {registry.kind} is a word, got {name!r}", (*loc, registry.kind))
    member = entry(registry, name, (*loc, registry.kind) if registry.kind in written else loc)
    return RequestedValue(name, plain(at(loc, lambda: member.complete(options))), member.version)

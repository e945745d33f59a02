"""Every measure in all its discrete variants: what the conformance suite runs over.

Inclusion rules: a measure is in the suite as soon as it is registered, with its default options; with every value of
every option that is a ``Literal`` or a ``bool``, one option at a time; and with the options named in its facts. Options
of size are reduced where all measures that have them allow it (``SMALL``). A measure must be defined for the small
ReLU network with two inputs and three classes; it may be undefined (``NotDefined``) for others, which then say nothing
of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import nn

from sharpscope import Estimate
from sharpscope.curvature.measure import MEASURES, MeasureFacts
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.measurement import measure_risk
from tests.invariances import CONV, MLP

SMALL = {"draws": 4, "starts": 2, "steps": 6, "sketch": 3, "probes": 4, "segments": 20}
# Exact measures that state what rounding makes of them.
STATES_ROUNDING = {"worst_case_sharpness"}


@dataclass(frozen=True)
class Variant:
    """A measure under some options."""

    name: str
    given: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.given)
        return f"{self.name}[{options}]" if options else self.name

    @property
    def facts(self) -> MeasureFacts:
        return MEASURES[self.name].facts

    @property
    def invariances(self) -> frozenset[str]:
        """What is declared for these options."""
        for options, invariances in self.facts.variants:
            if dict(options) == dict(self.given):
                return invariances
        return self.facts.invariances

    @property
    def asked(self) -> dict[str, dict[str, Any]]:
        """What ``sharpscope.measure`` is asked for."""
        defaults = MEASURES[self.name].defaults
        small = {k: v for k, v in SMALL.items() if defaults.get(k, 0) > v}
        return {self.key: {"measure": self.name, **small, **dict(self.given)}}

    def on(self, model: nn.Module, data: Any, **arguments: Any) -> Estimate:
        """Measure a model whose training began where all parameters were 0.1."""
        batch_size = arguments.pop("batch_size", None)
        init = {name: torch.full(p.shape, 0.1) for name, p in model.named_parameters()}
        risk = Risk(model, Batches(data, batch_size=batch_size), init=init, **arguments)
        return measure_risk(risk, self.asked)[self.key]


def discrete_values(hint: Any) -> tuple[Any, ...]:
    if hint is bool:
        return (False, True)
    return get_args(hint) if get_origin(hint) is Literal else ()


def variants_of(name: str) -> list[Variant]:
    entry = MEASURES[name]
    hints = get_type_hints(entry.function)
    found = [Variant(name), *(Variant(name, tuple(options.items())) for options, _ in entry.facts.variants)]
    for option, default in entry.defaults.items():
        found += [Variant(name, ((option, value),)) for value in discrete_values(hints[option]) if value != default]
    return list(dict.fromkeys(found))


VARIANTS = [variant for name in MEASURES for variant in variants_of(name)]


@cache
def reference() -> Mapping[str, Estimate]:
    """Return every variant on the small ReLU network, its twelve samples in one batch."""
    return {v.key: v.on(MLP.model(), [MLP.samples()]) for v in VARIANTS}


@cache
def on_conv(variant: Variant) -> Estimate:
    """Return a variant on the small convolutional network, in eval mode, its twelve samples in one batch.

    Raises:
        NotDefined: If it has no value there.
    """
    return variant.on(CONV.model().eval(), [CONV.samples()])


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({key: estimate.value.hex() for key, estimate in reference().items()}))  # noqa: T201

"""What every registered measure must do; what takes part, and how, is written in ``tests/variants.py``."""

from __future__ import annotations

import inspect
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.invariances import CONV, MLP, TRANSFORMATIONS, Transformation
from tests.variants import STATES_ROUNDING, VARIANTS, Variant, on_conv, reference
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sharpscope import Estimate, Measurements
from sharpscope.curvature.measure import INVARIANCES, MEASURES, MeasureFacts
from sharpscope.docstrings import explained, one_line, parts
from sharpscope.errors import NotDefined, SpecError
from sharpscope.seeding import Stream

# Variants that depend on the parametrization by too little to be seen.
UNSEEN = {"pac_bayes_flatness[magnitude_aware=True]": "its floor is small against the parameters"}
# How closely an invariance holds where a tolerance of the definition is not itself invariant.
CLOSENESS = {"information_geometric_sharpness": 1e-5}
# Differences of gradients in single precision take steps that cross the kinks of a ReLU network.
DOUBLE_ONLY = ("route", "differences")

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.key)
every_measure = pytest.mark.parametrize("name", list(MEASURES))


@every_measure
def test_declares_itself(name: str) -> None:
    facts = MEASURES[name].facts
    assert isinstance(facts, MeasureFacts)
    assert all(text.strip() for text in (facts.label, facts.symbol, facts.cost, facts.reference, *facts.caveats))
    assert facts.sharper_is in {"larger", "smaller"}
    assert set(INVARIANCES) == set(TRANSFORMATIONS)
    for options, invariances in ((), facts.invariances), *facts.variants:
        assert set(invariances) <= set(INVARIANCES)
        MEASURES[name].complete(dict(options))
    assert facts.exact or not facts.default, "the default measures are exact"


def numbers(schema: Any) -> list[dict[str, Any]]:
    """Return the parts of an option's JSON schema that stand for one number."""
    return [part for part in schema.get("anyOf", [schema]) if part.get("type") in {"integer", "number"}]


@every_measure
def test_declares_the_bounds_of_its_options(name: str) -> None:
    """What every run would refuse is then refused by a plan; no number of a measure may be negative."""
    for option, schema in MEASURES[name].json_schema().items():
        for number in numbers(schema):
            least = number.get("minimum", number.get("exclusiveMinimum"))
            assert least is not None, option
            assert least >= 0
            with pytest.raises(SpecError, match=f"option '{option}' of measure '{name}': .*got -1"):
                MEASURES[name].complete({option: -1})


@every_measure
def test_declares_how_its_values_are_compared(name: str) -> None:
    assert MEASURES[name].facts.scale in {"ratio", "difference"}


@every_measure
def test_documents_itself(name: str) -> None:
    entry = MEASURES[name]
    _, blank, *_ = (inspect.getdoc(entry.function) or "").split("\n")
    assert not blank
    assert explained(entry.function, "Args").keys() == {"risk", *entry.defaults}


@every_measure
def test_says_in_words_what_its_facts_say(name: str) -> None:
    entry = MEASURES[name]
    facts, (text, sections) = entry.facts, parts(entry.function)
    summary = text.partition("\n")[0]
    is_said_a_control = facts.kind == "control" and summary.endswith(" (a control).")
    assert is_said_a_control or f" ({facts.sharper_is} is " in summary
    exactly = "(``stderr`` 0 but for rounding)" if name in STATES_ROUNDING else "(``stderr`` 0)"
    assert facts.exact == (exactly in sections["Returns"])
    told = {title: one_line(sections.get(title, "")) for title in ("Unit", "Cost", "Reference")}
    assert told == {"Unit": facts.unit, "Cost": facts.cost, "Reference": facts.reference}
    written = parts(entry.function.steps)[1]
    assert not written.keys() & told.keys(), "they stand once, in the facts"
    assert "in units of" not in sections["Returns"]


@every_measure
def test_every_option_has_a_default(name: str) -> None:
    assert MEASURES[name].complete({}) == MEASURES[name].defaults


@every_variant
def test_is_finite_and_states_its_error(variant: Variant) -> None:
    found = reference()[variant.key]
    assert math.isfinite(found.value)
    assert found.converged
    assert found.samples == 12
    assert not is_drawn(variant, found) if variant.facts.exact else math.isfinite(found.stderr)


def is_drawn(variant: Variant, found: Estimate) -> bool:
    """Tell whether there is an error, beyond the rounding of double precision where a measure states that."""
    return found.stderr > (1e-12 * abs(found.value) if variant.name in STATES_ROUNDING else 0)


def test_all_estimates_become_json_and_a_table() -> None:
    measurements = Measurements(reference())
    assert json.loads(measurements.to_json())[VARIANTS[0].key]["value"] == reference()[VARIANTS[0].key].value
    assert list(measurements.to_frame().index) == [v.key for v in VARIANTS]


@every_variant
@pytest.mark.parametrize("split", [(3, 4, 5), (1,) * 12], ids=["3+4+5", "12x1"])
def test_does_not_depend_on_the_cut_into_batches(variant: Variant, split: tuple[int, ...]) -> None:
    x, y = MLP.samples()
    found = variant.on(MLP.model(), list(zip(x.split(split), y.split(split), strict=True)))
    assert_same(found, reference()[variant.key], rel=1e-9)


@every_variant
def test_does_not_depend_on_the_form_of_the_data(variant: Variant) -> None:
    dataset = TensorDataset(*MLP.samples())
    assert_same(variant.on(MLP.model(), dataset, batch_size=5), reference()[variant.key], rel=1e-9)
    shuffled = DataLoader(dataset, 5, shuffle=True, generator=torch.Generator().manual_seed(1))
    assert_same(variant.on(MLP.model(), shuffled), reference()[variant.key], rel=1e-9)


def assert_same(found: Estimate, expected: Estimate, *, rel: float) -> None:
    assert found.value == pytest.approx(expected.value, rel=rel, abs=1e-13)
    # The error of differences is made of rounding, which is not the same in another order of sums.
    inexact = "product_error" in expected.details
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-3 if inexact else 1e-6, abs=1e-13)
    assert found.samples == expected.samples


@every_variant
@pytest.mark.parametrize("invariance", list(TRANSFORMATIONS))
def test_has_the_invariances_declared_and_no_others(variant: Variant, invariance: str) -> None:
    """An estimator that is not invariant shows it too, if only by other numbers from the same draws."""
    if variant.key in UNSEEN:
        pytest.skip(UNSEEN[variant.key])
    transformation = TRANSFORMATIONS[invariance]
    _, after = transformation.pair()
    try:
        old = reference()[variant.key] if transformation.net is MLP else on_conv(variant)
        new = variant.on(after, [transformation.net.samples()])
    except NotDefined:
        pytest.skip("not defined for this network")
    if not (old.converged and new.converged):
        pytest.skip("no value on this network")
    error = 5 * math.hypot(old.stderr, new.stderr)
    if invariance in variant.invariances:
        assert new.value == pytest.approx(old.value, rel=CLOSENESS.get(variant.name, 1e-6), abs=error)
    else:
        assert abs(new.value - old.value) > 1e-4 * abs(old.value)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.facts.same_for_twins], ids=lambda v: v.key)
def test_is_the_same_at_any_temperature_if_it_says_so(variant: Variant) -> None:
    after = MLP.model()
    with torch.no_grad():
        after[-1].weight.div_(1.7)
        after[-1].bias.div_(1.7)
    assert variant.on(after, [MLP.samples()]).value == pytest.approx(reference()[variant.key].value, rel=1e-9)


@pytest.mark.parametrize("transformation", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
def test_transformations_leave_the_function_as_it_is(transformation: Transformation) -> None:
    before, after = (model.eval() for model in transformation.pair())
    x, _ = transformation.net.samples()
    old, new = before(x).softmax(dim=1), after(x).softmax(dim=1)
    torch.testing.assert_close(old, new, rtol=1e-9, atol=1e-12)
    assert torch.allclose(before(x), after(x)) != transformation.shifts_outputs


def lived_in() -> nn.Module:
    """The convolutional network in the middle of its life: modes that differ, gradients, frozen parameters, hooks."""
    model = CONV.model()
    model[-2] = nn.Sequential(model[-2], nn.Dropout(0.5))
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    model[3].register_forward_hook(lambda module, args, output: None)
    model[0].register_forward_pre_hook(lambda module, args: None)
    return model


def state_of(model: nn.Module) -> dict[str, Any]:
    """Return all that measuring must not change, in a form that compares bit by bit."""

    def bits(tensor: torch.Tensor | None) -> Any:
        return None if tensor is None else (str(tensor.dtype), tensor.detach().numpy().tobytes())

    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global state is what is looked at
    return {
        "tensors": {k: bits(t) for k, t in model.state_dict().items()},
        "parameters": {k: (id(p), p.requires_grad, bits(p.grad), p._version) for k, p in model.named_parameters()},
        "buffers": {k: (id(b), b._version) for k, b in model.named_buffers()},
        "modes": {k: m.training for k, m in model.named_modules()},
        "hooks": {k: [dict(getattr(m, h)) for h in hooks] for k, m in model.named_modules()},
        "torch": bits(torch.get_rng_state()),
        "numpy": (name, keys.tobytes(), *rest),
        "python": random.getstate(),
        "modes of autograd": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled()),
    }


@every_variant
@pytest.mark.parametrize("fails", [False, True], ids=["", "when it raises"])
def test_changes_nothing(variant: Variant, fails: bool) -> None:
    model = lived_in()
    calls = 0

    def forward(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if fails and calls > 1:
            raise ZeroDivisionError
        return model(x)

    loader = DataLoader(TensorDataset(*CONV.samples()), 5, shuffle=True)
    before = state_of(model)
    try:
        variant.on(model, loader, forward=forward)
    except (NotDefined, ZeroDivisionError):
        failed = True
    else:
        failed = False
    assert state_of(model) == before
    assert failed or calls <= 1 or not fails


@every_variant
def test_does_not_depend_on_modes_and_frozen_parameters(variant: Variant) -> None:
    data, model = [CONV.samples()], lived_in()
    try:
        expected = on_conv(variant).value
    except NotDefined:
        pytest.skip("not defined for this network")
    assert variant.on(model, data).value == expected
    assert variant.on(model.requires_grad_(False), data).value == expected


@every_variant
def test_agrees_in_single_precision(variant: Variant) -> None:
    if DOUBLE_ONLY in variant.given:
        pytest.skip("needs double precision")
    x, y = MLP.samples()
    expected = reference()[variant.key]
    found = variant.on(MLP.model().float(), [(x.float(), y)])
    error = 5 * math.hypot(found.stderr, expected.stderr)
    assert found.value == pytest.approx(expected.value, rel=2e-4, abs=error)


@every_variant
def test_measures_half_precision_in_single(variant: Variant) -> None:
    x, y = MLP.samples()
    half, single = MLP.model().bfloat16(), MLP.model().bfloat16().float()
    assert variant.on(half, [(x.bfloat16(), y)]).value == variant.on(single, [(x.bfloat16().float(), y)]).value


@every_variant
def test_does_not_depend_on_the_mode_of_its_caller(variant: Variant) -> None:
    model, data = MLP.model(), [MLP.samples()]
    with torch.inference_mode(), torch.autocast("cpu"):
        assert variant.on(model, data).value == reference()[variant.key].value


def test_another_process_finds_the_same_numbers() -> None:
    script = Path(__file__).parents[1] / "variants.py"
    path = os.pathsep.join([str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONHASHSEED": "17", "PYTHONPATH": path}
    found = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert json.loads(found.stdout) == {key: estimate.value.hex() for key, estimate in reference().items()}


@every_variant
def test_the_seed_decides_what_is_drawn(variant: Variant) -> None:
    found, other = reference()[variant.key], variant.on(MLP.model(), [MLP.samples()], stream=Stream(1))
    assert (found.value == other.value) == (not is_drawn(variant, found))


@every_measure
def test_says_of_each_choice_of_options_under_which_changes_it_stays(name: str) -> None:
    entry = MEASURES[name]
    facts, defaults = entry.facts, entry.defaults
    assert facts.unchanged_by(defaults) == [words for key, words in INVARIANCES.items() if key in facts.invariances]
    for chosen, keys in facts.variants:
        told = facts.unchanged_by({**defaults, **chosen})
        assert told == [words for key, words in INVARIANCES.items() if key in keys]

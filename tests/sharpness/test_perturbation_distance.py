"""The distance from initialization, from what the risk knows or a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.cases import CASES, Case

from sharpscope import measure
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined, SharpscopeError
from sharpscope.measurement import measure_risk

MEASURE = "distance_from_init"
TIED = next(case for case in CASES if case.name == "tied")


def initialization(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return another state of the model, tied weights under each of their names, as a state dict has it."""
    generator = torch.Generator().manual_seed(8)
    once: dict[int, torch.Tensor] = {}
    state = {}
    for name, tensor in model.state_dict().items():
        drawn = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        state[name] = once.setdefault(tensor.data_ptr(), drawn).clone()
    return state


@pytest.mark.parametrize("case", [CASES[0], CASES[3], TIED], ids=lambda c: c.name)
def test_it_is_the_euclidean_norm_over_parameters(case: Case, tmp_path: Path) -> None:
    model = case.model()
    init = initialization(model)
    expected = sum(float((p.detach() - init[name]).square().sum()) for name, p in model.named_parameters()) ** 0.5
    known = measure_risk(Risk(model, Batches(case.data()), init=init), [MEASURE])[MEASURE]
    assert known.value == pytest.approx(expected, rel=1e-12)
    assert (known.stderr, known.samples) == (0.0, 12)
    save_file(init, tmp_path / "init.safetensors")
    read = measure(model, case.data(), {MEASURE: {"init": str(tmp_path / "init.safetensors")}})[MEASURE]
    assert read == known


def test_it_is_zero_before_training() -> None:
    model = CASES[0].model()
    risk = Risk(model, Batches(CASES[0].data()), init=model.state_dict())
    assert measure_risk(risk, [MEASURE])[MEASURE].value == 0.0


def test_an_initialization_that_does_not_serve_is_refused(tmp_path: Path) -> None:
    case = CASES[0]
    with pytest.raises(NotDefined, match="initialization is not known; pass a safetensors file"):
        measure(case.model(), case.data(), [MEASURE])
    other = {**case.model().state_dict(), "0.weight": torch.zeros(2, 2)}
    with pytest.raises(SharpscopeError, match=r"'0.weight' has shape \(7, 5\), there it has shape \(2, 2\)"):
        measure_risk(Risk(case.model(), Batches(case.data()), init=other), [MEASURE])
    del other["0.weight"]
    with pytest.raises(SharpscopeError, match="there it has nothing"):
        measure_risk(Risk(case.model(), Batches(case.data()), init=other), [MEASURE])
    (tmp_path / "broken").write_bytes(b"no tensors")
    for name in ("broken", "absent"):
        with pytest.raises(SharpscopeError, match=f"{name}' cannot be read as a safetensors file"):
            measure(case.model(), case.data(), {MEASURE: {"init": str(tmp_path / name)}})

"""The estimate for any layer agrees with the double sum over dense Hessian blocks, and with the closed form."""

from __future__ import annotations

import pytest
import torch
from tests import dense
from tests.cases import CASES, SPLITS, Case
from tests.invariances import MLP, TRANSFORMATIONS
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches

BY_NAME = {case.name: case for case in CASES}


def definition(case: Case, layer: str) -> float:
    """Return the raw double sum of one layer from its dense Hessian block."""
    with Risk(case.model(), Batches(case.data())) as risk:
        module = risk.model.get_submodule(layer)
        weight = module.weight
        block = dense.hessian(risk, [weight]).detach()
    W = weight.detach()
    groups = getattr(module, "groups", 1)
    index = torch.arange(W.numel()).reshape(W.shape)
    if isinstance(module, nn.ConvTranspose2d):
        parts = [
            (w.transpose(0, 1).flatten(1), i.transpose(0, 1).flatten(1))
            for w, i in zip(W.chunk(groups), index.chunk(groups), strict=True)
        ]
    else:
        parts = [(w.flatten(1), i.flatten(1)) for w, i in zip(W.chunk(groups), index.chunk(groups), strict=True)]
    total = 0.0
    for w, i in parts:
        for s in range(len(w)):
            for t in range(len(w)):
                total += float(w[s] @ w[t]) * float(block[i[s], i[t]].sum())
    return total


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mlp", "2"),
        ("residual", "deep"),
        ("residual", "short"),
        ("grouped", "0"),
        ("grouped", "3"),
        ("attention", "qkv"),
    ],
)
def test_raw_values_agree_with_the_definition(name: str, layer: str) -> None:
    case = BY_NAME[name]
    options = {"layer": layer, "normalize": False, "probes": 200}
    found = measure(case.model(), case.data(), {"relative_flatness": options})["relative_flatness"]
    assert found.stderr > 0
    assert abs(found.value - definition(case, layer)) < 4 * found.stderr


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", ["mlp_gelu", "residual", "mapping"])
def test_the_head_agrees_with_its_closed_form(name: str, normalize: bool) -> None:
    case = BY_NAME[name]
    head = next(n for n, m in reversed(list(case.model().named_modules())) if isinstance(m, nn.Linear))
    asked = {
        "closed": {"measure": "relative_flatness", "normalize": normalize},
        "probed": {"measure": "relative_flatness", "normalize": normalize, "layer": head, "probes": 200},
    }
    if name == "mapping":  # its head is applied once, to a mean over positions
        assert head == "head"
    found = measure(case.model(), case.data(), asked)
    assert abs(found["closed"].value - found["probed"].value) < 4 * found["probed"].stderr


def test_all_layers_come_from_the_same_products_however_the_data_is_cut() -> None:
    case = BY_NAME["residual"]
    values = []
    for split in SPLITS:
        found = measure(case.model(), case.data(split), {"relative_flatness": {"layer": "all"}})["relative_flatness"]
        assert list(found.details["layers"]) == ["stem", "deep", "short", "head"]
        assert sum(layer["value"] for layer in found.details["layers"].values()) == pytest.approx(found.value)
        values.append(found.value)
    assert values == pytest.approx([values[0]] * len(SPLITS), rel=1e-9)


def test_rescaling_neurons_moves_the_raw_value_only() -> None:
    case = BY_NAME["mlp"]
    found = []
    for factor in (torch.ones(7), torch.linspace(0.3, 3.0, 7)):
        model = case.model()
        with torch.no_grad():
            model[0].weight *= factor[:, None]  # type: ignore[index]
            model[0].bias *= factor  # type: ignore[index]
            model[2].weight /= factor  # type: ignore[index]
        asked = {
            n: {"measure": "relative_flatness", "layer": "2", "normalize": n == "scaled"} for n in ("scaled", "raw")
        }
        found.append(measure(model, case.data(), asked))
    # The same stream draws the same signs, so even the estimates are equal where the definition is.
    assert found[0]["scaled"].value == pytest.approx(found[1]["scaled"].value, rel=1e-9)
    assert found[0]["raw"].value != pytest.approx(found[1]["raw"].value, rel=1e-3)


@pytest.mark.parametrize("key", TRANSFORMATIONS)
def test_the_raw_value_of_a_hidden_layer_changes_under_rescaled_neurons_alone(key: str) -> None:
    transformation = TRANSFORMATIONS[key]
    layer = "2" if transformation.net is MLP else "3"
    asked = {"relative_flatness": {"layer": layer, "normalize": False, "probes": 400}}
    old, new = (
        measure(model, [transformation.net.samples()], asked)["relative_flatness"] for model in transformation.pair()
    )
    if key == "BN":  # other factors of the weight, so other probes
        assert abs(new.value - old.value) < 4 * (old.stderr**2 + new.stderr**2) ** 0.5
        assert old.stderr < 0.1 * abs(old.value)
    else:
        assert (new.value == pytest.approx(old.value, rel=1e-9)) == (key != "NW")


def test_unknown_layers_are_named_with_the_known_ones() -> None:
    case = BY_NAME["residual"]
    with pytest.raises(ValueError, match="'steam'; did you mean 'stem'"):
        measure(case.model(), case.data(), {"relative_flatness": {"layer": "steam"}})
    with pytest.raises(ValueError, match="norm"):
        measure(case.model(), case.data(), {"relative_flatness": {"layer": "norm"}})


class Partly(nn.Module):
    """Layers called by keyword, not as modules, and not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.first = nn.Linear(4, 5)
        self.spare = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.attention(x, x, x)
        return self.head(torch.tanh(self.first(input=mixed.mean(dim=1))))


def partly() -> tuple[Partly, tuple[Tensor, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Partly().double(), (torch.randn(9, 3, 4, dtype=torch.float64), torch.arange(9) % 3)


def test_layers_whose_inputs_are_not_seen_are_left_out_of_all_and_told() -> None:
    model, data = partly()
    found = measure(model, data, {"relative_flatness": {"layer": "all"}})["relative_flatness"]
    assert list(found.details["layers"]) == ["first", "head"]
    assert found.details["not_called"] == ["attention.out_proj", "spare"]
    raw = measure(model, data, {"relative_flatness": {"layer": "all", "normalize": False}})["relative_flatness"]
    assert raw.details["layers"]["attention.out_proj"]["value"] != 0
    assert raw.details["layers"]["spare"] == {"value": 0, "stderr": 0}
    with pytest.raises(ValueError, match=r"does not call the layer 'attention\.out_proj'.*normalize=False"):
        measure(model, data, {"relative_flatness": {"layer": "attention.out_proj"}})


def test_layers_whose_weight_is_computed_or_shared_are_left_out_of_all_and_told() -> None:
    model, data = partly()
    model.first = nn.utils.parametrizations.weight_norm(model.first)
    model.head.weight = nn.Parameter(torch.randn(3, 5, dtype=torch.float64))
    model.spare = nn.Linear(5, 3).double()
    model.spare.weight = model.head.weight
    found = measure(model, data, {"relative_flatness": {"layer": "all", "normalize": False}})["relative_flatness"]
    assert list(found.details["layers"]) == ["attention.out_proj", "spare"]
    assert found.details["left_out"] == ["first", "head"]


def test_a_layer_may_be_given_as_itself() -> None:
    model, data = partly()
    asked = {str(type(x)): {"measure": "relative_flatness", "layer": x} for x in ("first", model.first)}
    by_name, by_module = measure(model, data, asked).values()
    assert by_module.value == by_name.value
    with pytest.raises(ValueError, match="a Linear, is no linear or convolutional layer of this model"):
        measure(model, data, {"relative_flatness": {"layer": nn.Linear(2, 2)}})

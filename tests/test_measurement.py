"""``sharpscope.measure`` as a user meets it: what is asked for, what is left out, what comes back."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

import sharpscope
from sharpscope import Estimate, Measurements, measure
from sharpscope.curvature.measure import MEASURES
from sharpscope.errors import SharpscopeError, SpecError
from sharpscope.measurement import resolve_measures

X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 2
DEFAULT = [name for name in MEASURES if MEASURES[name].facts.default]


def model() -> nn.Module:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(6.0).view(2, 3) / 5)
        layer.bias.zero_()
    return layer


def test_measures_the_cheap_exact_ones_unless_asked() -> None:
    found = measure(model(), (X, Y))
    assert list(found) == DEFAULT
    assert all(estimate.stderr == 0 for estimate in found.values())
    assert {"relative_flatness", "fisher_rao_norm", "gradient_norm", "parameter_norm", "head_norm", "margin"} <= set(
        found
    )


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ("margin", ["margin"]),
        (["margin", "gradient_norm"], ["margin", "gradient_norm"]),
        (("margin",), ["margin"]),
        ({"margin": None}, ["margin"]),
        ({"low": {"measure": "margin", "quantile": 0.0}, "margin": {}}, ["low", "margin"]),
    ],
)
def test_keys_are_those_asked_for_in_their_order(asked: Any, keys: list[str]) -> None:
    assert list(measure(model(), (X, Y), asked)) == keys


def test_one_measure_twice_has_options_of_its_own() -> None:
    found = measure(
        model(), (X, Y), {"low": {"measure": "margin", "quantile": 0.0}, "high": {"measure": "margin", "quantile": 1}}
    )
    assert found["low"].value == found["low"].details["min"] < found["high"].value


@pytest.mark.parametrize(
    ("asked", "message", "loc"),
    [
        (
            ["relative_flatnes"],
            "unknown measure 'relative_flatnes'; did you mean 'relative_flatness'",
            ("relative_flatnes",),
        ),
        ({"a": {"measure": "margn"}}, "unknown measure 'margn'; did you mean 'margin'", ("a",)),
        (
            {"margin": {"quantil": 0.1}},
            "unknown option 'quantil' of measure 'margin'; did you mean 'quantile'",
            ("margin", "quantil"),
        ),
        (
            {"margin": {"quantile": "much"}},
            "option 'quantile' of measure 'margin': .*number.*'much'",
            ("margin", "quantile"),
        ),
        (
            {"sam_sharpness": {"method": "magic"}},
            "'method' .*'monte_carlo' or 'expansion', got 'magic'",
            ("sam_sharpness", "method"),
        ),
    ],
)
def test_what_is_unknown_is_refused_before_anything_is_computed(asked: Any, message: str, loc: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        measure(model(), None, asked)
    assert caught.value.loc == loc
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("nothing", [[], {}])
def test_nothing_asked_for_is_a_mistake(nothing: Any) -> None:
    with pytest.raises(SharpscopeError, match="no measure was asked for"):
        measure(model(), (X, Y), nothing)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"k": {"measure": "hessian_top_eigenvalue", "k": 3, "budget": 2}}, "^k: budget must be at least k, got k=3"),
        ({"d": {"measure": "distance_from_init", "init": "none.safetensors"}}, "^d: the initialization 'none.safet"),
    ],
)
def test_what_a_measure_refuses_is_told_with_its_key(asked: Any, message: str) -> None:
    with pytest.raises(SharpscopeError, match=message):
        measure(model(), (X, Y), asked)


def headless() -> nn.Module:
    return nn.Sequential(model(), nn.LogSoftmax(dim=1))


def test_default_measures_that_are_not_defined_are_left_out_and_named() -> None:
    with pytest.warns(
        UserWarning,
        match="left out of the default measures: head_norm, relative_flatness: the model's outputs are not linear",
    ) as caught:
        found = measure(headless(), (X, Y), subset=8)
    assert set(found) == set(DEFAULT) - {"head_norm", "relative_flatness"}
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match="margin: the margin needs class indices"):
        found = measure(model(), (X, torch.ones(10, 2)), loss="mse")
    assert set(found) == set(DEFAULT) - {"margin"}


def test_a_measure_asked_for_by_name_is_never_left_out() -> None:
    with pytest.raises(SharpscopeError, match=r"^head_norm: "):
        measure(headless(), (X, Y), ["gradient_norm", "head_norm"])


class Odd(nn.Module):
    """A model with a forward that does something to its outputs, or to its inputs."""

    def __init__(self, after: Any) -> None:
        super().__init__()
        self.layer, self.after = model(), after

    def forward(self, x: torch.Tensor, mask: Any = None) -> Any:
        return self.after(self.layer(x))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": (X[:, :2], Y)}, r"fails on its inputs, float32 \(10, 2\) \(RuntimeError: mat1.*pass forward="),
        ({"data": ((10 * X).to(torch.uint8), Y)}, r"fails on its inputs, uint8 \(10, 3\).*pass forward="),
        (
            {"model": Odd(lambda f: f), "data": {"x": X, "idx": torch.arange(10), "labels": Y}},
            r"inputs, x: float32 \(10, 3\), idx: int64 \(10,\) \(TypeError.*unexpected.*'idx'\).*pass forward=",
        ),
        ({"model": Odd(lambda f: {}["pixel"])}, r"fails on its inputs.*KeyError: 'pixel'"),
        ({"forward": lambda model: model}, "fails on its inputs.*TypeError.*pass forward="),
        (
            {"model": Odd(lambda f: f.detach()), "measures": ["gradient_norm"]},
            "no gradient in any parameter .*detaches its outputs",
        ),
        ({"model": Odd(lambda f: f.argmax(dim=1))}, "outputs must be real floating-point numbers, got torch.int64"),
        ({"model": Odd(lambda f: f.to(torch.complex64))}, "real floating-point numbers, got torch.complex64"),
        ({"model": Odd(lambda f: None)}, "must return a tensor.*got NoneType"),
        ({"model": Odd(lambda f: {"a": f})}, "must return a tensor.*got dict"),
        ({"model": model().to("meta")}, "'weight' is on the meta device"),
        ({"model": nn.LazyLinear(2)}, "'weight' is not initialized"),
        ({"model": nn.Linear}, "must be a torch.nn.Module, got type"),
        ({"model": model().state_dict()}, "must be a torch.nn.Module, got OrderedDict"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"rtol": 0}, "rtol must be a positive number, got 0"),
        ({"rtol": True}, "rtol must be a positive number, got True"),
        ({"device": "gpu"}, "device must be 'cpu', or an accelerator.*got 'gpu'"),
        ({"device": "meta"}, "device must be 'cpu', or an accelerator.*got 'meta'"),
        ({"measures": 3}, "measures must be names.*got 3"),
        ({"loss": nn.CrossEntropyLoss}, "got the class CrossEntropyLoss; make one of it"),
        ({"loss": None}, "got NoneType"),
        ({"head": 3}, "not a linear layer"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(given: dict[str, Any], message: str) -> None:
    arguments = {"model": model(), "data": (X, Y), **given}
    with pytest.raises(SharpscopeError, match=message) as caught:
        measure(arguments.pop("model"), arguments.pop("data"), **arguments)
    assert "\n" not in str(caught.value)


def test_errors_of_memory_and_files_stay_what_they_are() -> None:
    for error in (OSError("gone"), MemoryError(), torch.OutOfMemoryError("full")):

        def fail(f: torch.Tensor, error: BaseException = error) -> torch.Tensor:
            raise error

        with pytest.raises(type(error)):
            measure(Odd(fail), (X, Y))


def test_outputs_that_are_no_numbers_have_not_converged() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure(Odd(lambda f: f * torch.nan), (X, Y))
    assert not found["gradient_norm"].converged


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("compiled", ["script", "trace"])
def test_a_model_compiled_by_torch_jit_has_the_same_values(compiled: str) -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    data = (X.double(), Y)
    other = torch.jit.script(network) if compiled == "script" else torch.jit.trace(network, data[0])
    names = ["gradient_norm", "fisher_rao_norm", "hessian_top_eigenvalue", "ggn_top_eigenvalue", "sam_sharpness"]
    expected = measure(network, data, names)
    for _ in range(3):  # what is compiled is optimized while it runs
        found = measure(other, data, names)
        assert [e.value for e in found.values()] == pytest.approx([e.value for e in expected.values()], rel=1e-6)
    with pytest.raises(SharpscopeError, match="no linear layer"):
        measure(other, data, ["relative_flatness"])


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_others_alone() -> None:
    asked = {"a": {"measure": "sam_sharpness", "draws": 5}}
    first, again, other = (measure(model(), (X, Y), asked, seed=seed)["a"].value for seed in (0, 0, 1))
    assert first == again != other
    beside = measure(model(), (X, Y), {"b": {"measure": "sam_sharpness", "draws": 9}, "gradient_norm": {}, **asked})
    assert beside["a"].value == first, "one more measure moves no other"


def test_a_subset_is_measured_as_such() -> None:
    found = measure(model(), (X, Y), ["gradient_norm"], subset=4)["gradient_norm"]
    assert found.samples == 4


def test_progress_is_a_line_a_pass(capsys: pytest.CaptureFixture[str]) -> None:
    measure(model(), (X, Y), ["gradient_norm", "margin"], progress=True)
    assert capsys.readouterr().out == "a pass over the data for 2 measures\n"
    measure(model(), (X, Y), ["gradient_norm"])
    assert capsys.readouterr().out == ""


FOUND = Measurements(
    {
        "exact": Estimate(1.5, samples=10, details={"layers": ["a"], "shares": {"a": float("nan")}}),
        "drawn": Estimate(2.0, 0.25, 10, converged=False),
        "broken": Estimate(float("inf"), samples=10, converged=False),
    }
)


def test_a_frame_has_one_row_a_measure() -> None:
    frame = FOUND.to_frame()
    assert list(frame.index) == ["exact", "drawn", "broken"]
    assert frame.index.name == "measure"
    assert list(frame.columns) == ["value", "stderr", "samples", "converged"]
    assert frame.loc["drawn"].tolist() == [2.0, 0.25, 10, False]
    assert len(Measurements({}).to_frame()) == 0


def test_json_has_everything_and_null_where_there_is_no_number() -> None:
    found = json.loads(FOUND.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["exact"] == {
        "value": 1.5,
        "stderr": 0.0,
        "samples": 10,
        "converged": True,
        "details": {"layers": ["a"], "shares": {"a": None}},
    }
    assert found["broken"]["value"] is None


def test_an_estimate_is_formatted_as_a_number_is() -> None:
    assert f"{FOUND['drawn']:.3f} {FOUND['exact']:.1e} {FOUND['exact']}" == "2.000 ± 0.250 1.5e+00 1.5"


def test_texts_show_values_errors_and_failures() -> None:
    assert repr(FOUND).splitlines() == [
        "exact   1.5",
        "drawn   2 ± 0.25 (not converged)",
        "broken  inf (not converged)",
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(FOUND)
    table = console.export_text()
    assert "exact" in table
    assert "not converged" in table
    html = FOUND._repr_html_()
    assert "<table" in html
    assert "0.25" in html
    assert repr(Measurements({})) == ""


def test_a_key_that_was_not_measured_is_told_with_those_that_were() -> None:
    with pytest.raises(KeyError, match="'margin' was not measured; measured were exact, drawn, broken"):
        FOUND["margin"]
    assert FOUND.get("margin") is None


def test_resolved_options_are_complete_and_independent() -> None:
    resolved = resolve_measures({"a": {"measure": "margin"}, "b": {"measure": "margin", "quantile": 1}})
    assert resolved == {"a": ("margin", {"quantile": 0.1}), "b": ("margin", {"quantile": 1.0})}


def test_the_package_has_its_names_without_loading_torch_first() -> None:
    assert set(sharpscope.__all__) <= set(dir(sharpscope))
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        sharpscope.mesure  # noqa: B018


def test_nothing_is_warned_of_where_all_is_well() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(model(), (X, Y))

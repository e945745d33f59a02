"""Graphs that are kept from one pass to the next: which are, and that they stay within their bound of memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.cases import CASES
from torch import Tensor, nn

from sharpscope import measure
from sharpscope.curvature.operators import GaussNewton, Products, Space
from sharpscope.curvature.passes import Evaluator, evaluator, kept_graphs
from sharpscope.curvature.passes.graph import Graph
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch, Batches


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Count the graphs of batches that are built, and see how many are there at a time."""
    # What was there before is no graph: it is not looked through whenever one is built.
    gc.freeze()
    seen = SimpleNamespace(built=0, most=0, alive=weakref.WeakSet())

    class Counted(Graph):
        def __init__(self, *args: Any) -> None:
            gc.collect()
            super().__init__(*args)
            seen.built += 1
            seen.alive.add(self)
            seen.most = max(seen.most, len(seen.alive))

    monkeypatch.setattr(evaluator, "Graph", Counted)
    yield seen
    gc.unfreeze()


@pytest.mark.parametrize("split", [(12,), (6, 6), (3, 4, 5)])
@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_graphs_that_fit_into_memory_serve_all_passes(
    kind: str, split: tuple[int, ...], graphs: SimpleNamespace
) -> None:
    case = CASES[2]
    name = f"{kind}_top_eigenvalue"
    asked = {name: {"budget": 5}}
    anew = measure(case.model(), case.data(split), {**asked, "sam_sharpness": {"draws": 2}}, rtol=1e-9)[name]
    graphs.built = 0
    found = measure(case.model(), case.data(split), asked, rtol=1e-9)[name]
    assert found.details["products"] == 5
    assert graphs.built == len(split)
    assert found.value == pytest.approx(anew.value, rel=1e-9)
    assert found.samples == 12


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
@pytest.mark.parametrize("fit", [0, 1, 2])
def test_graphs_that_do_not_fit_are_built_anew_but_the_last_of_a_pass(
    kind: str, fit: int, graphs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, split = CASES[2], (3, 3, 3, 3)
    sizes: list[float] = []
    weigh = kept_graphs._size_in_memory
    monkeypatch.setattr(kept_graphs, "_size_in_memory", lambda graph: sizes.append(weigh(graph)) or sizes[-1])
    asked = {f"{kind}_top_eigenvalue": {"budget": 5}}
    whole = measure(case.model(), case.data(split), asked, rtol=1e-9)
    assert len(set(sizes)) == 1
    graphs.built = graphs.most = 0
    monkeypatch.setattr(kept_graphs, "KEPT_BYTES", fit * sizes[0])
    found = measure(case.model(), case.data(split), asked, rtol=1e-9)
    # Those that fit are built once, and so is one more in each pass, which the next begins with.
    assert graphs.built == 4 + 4 * (4 - fit - 1)
    assert graphs.most == fit + 1
    name = f"{kind}_top_eigenvalue"
    assert found[name].value == pytest.approx(whole[name].value, rel=1e-12)


def test_graphs_that_grow_with_what_is_asked_of_them_are_weighed_again(
    graphs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second block is asked for when the first is done."""
    case, split = CASES[2], (4, 4, 4)
    risk = Risk(case.model(), Batches(case.data(split)))
    names = list(risk.parameters)
    with risk:
        passes = Evaluator(risk)

        def products(name: str) -> Products:
            space = Space(risk, name)
            asked = Products(GaussNewton(space), torch.ones(1, space.size, dtype=space.dtype))
            passes.run({"": [asked]})
            return asked

        products(names[0])
        assert len(graphs.alive) == 3
        taken = sum(graph.size_in_memory for graph in list(graphs.alive)[:2])
        monkeypatch.setattr(kept_graphs, "KEPT_BYTES", taken)
        products(names[1])
        gc.collect()
        settled = sorted(graph.size_in_memory for graph in graphs.alive)[:-1]
        assert sum(settled) <= taken
        assert len(settled) == 1


class Held(torch.autograd.Function):
    """A square that holds its input by a name of its own."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.mine = {"inputs": [inputs.clone()]}
        return inputs.square()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.mine["inputs"][0] * gradient


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Held.apply(x)


def test_the_size_of_a_graph_is_that_of_its_batch_and_of_what_derivatives_need() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), Squared(), nn.Linear(7, 3))
    x, y = torch.randn(100, 5), torch.randint(0, 3, (100,))
    sizes = []
    for n in (10, 20, 30):
        batch = Batch(x[:n], y[:n])  # a view of all data, of which it is a part only
        with Risk(model, [batch]) as risk:
            risk.outputs(batch)  # the first evaluation is on a copy of the inputs
            graph = Graph(risk, batch)
            # Inputs, what Tanh returns, the copy of it, its square, and outputs; the targets take 8 bytes each.
            assert graph.size_in_memory == n * (4 * (5 + 7 + 7 + 7 + 3) + 8)
            graph.gradient(list(risk.parameters))
            sizes.append(graph.size_in_memory)
            assert sizes[-1] > n * (4 * (5 + 7 + 7 + 7 + 3) + 8)
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0]


def test_a_graph_that_cannot_be_weighed_is_not_kept() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    batch = Batch(torch.randn(10, 5), torch.randint(0, 3, (10,)))
    with Risk(model, [batch]) as risk:
        risk.outputs(batch)
        graph = Graph(risk, batch)
        batch.inputs.add_(1)
        assert kept_graphs._size_in_memory(graph) == float("inf")

"""Watching a training: what is recorded, when, at what cost, and that the training does not notice."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.monitor.networks import CHEAP, DEFAULT, X, Y, linear, network
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sharpscope import SharpnessMonitor, measure


class FakeClock:
    """A clock that only goes on when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr("sharpscope.monitor.overhead.perf_counter", fake)
    return fake


def everything(model: nn.Module, optimizer: torch.optim.Optimizer, *generators: torch.Generator) -> list[Any]:
    """Return all that a training consists of, in a form that compares bit by bit."""
    momenta = [s["momentum_buffer"] for s in optimizer.state.values() if s.get("momentum_buffer") is not None]
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None), *momenta]
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global state is what is looked at
    return [
        *((str(t.dtype), t.detach().numpy().tobytes()) for t in tensors),
        *(g.get_state().numpy().tobytes() for g in (torch.default_generator, *generators)),
        (numpy_state[1].tobytes(), numpy_state[2:]),
        random.getstate(),
        [module.training for module in model.modules()],
    ]


def train(context: Any, *, watched: bool) -> list[Any]:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    model = network().train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    order = torch.Generator().manual_seed(4)
    loader = DataLoader(TensorDataset(X, Y), 8, shuffle=True, generator=order)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    monitor = SharpnessMonitor(loader, [*DEFAULT, "hessian_trace"], every=3, subset=16) if watched else None
    step = 0
    for _ in range(3):
        for inputs, targets in loader:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(inputs).float(), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if monitor is not None:
                with context:
                    monitor.step(model, step)
    assert monitor is None or sorted(set(monitor.to_frame()["step"])) == [3, 6, 9, 12, 15]
    return everything(model, optimizer, order)


@pytest.mark.parametrize(
    "context",
    [contextlib.nullcontext(), torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["plain", "no_grad", "inference_mode", "autocast"],
)
def test_the_training_is_the_same_to_the_last_bit(context: Any) -> None:
    assert train(context, watched=True) == train(context, watched=False)


def test_making_a_monitor_leaves_a_loader_under_way_alone() -> None:
    def rest(*, watched: bool) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        loader = DataLoader(TensorDataset(Y), 8, shuffle=True, generator=generator)
        pairs = DataLoader(TensorDataset(X, Y), 8, shuffle=True, generator=generator)
        iterator = iter(loader)
        next(iterator)
        if watched:
            SharpnessMonitor(pairs, CHEAP)
        return [y for (y,) in iterator] + [y for _, y in pairs]

    assert all(map(torch.equal, rest(watched=True), rest(watched=False)))


@pytest.mark.parametrize(
    "data", [(X, Y), DataLoader(TensorDataset(X, Y), 8, shuffle=True)], ids=["tensors", "shuffled loader"]
)
def test_finds_what_measure_finds(data: Any) -> None:
    asked = [*DEFAULT, "hessian_frobenius_norm"]
    monitor = SharpnessMonitor(data, asked, subset=20, seed=5)
    found = monitor.step(network(), 0)
    expected = measure(network(), data, asked, subset=20, seed=5)
    assert found is not None
    assert list(found) == asked
    assert {k: e.value for k, e in found.items()} == {k: e.value for k, e in expected.items()}
    assert found["hessian_frobenius_norm"].stderr > 0


def test_reads_the_data_once_and_keeps_no_more_than_the_subset() -> None:
    passes = []

    class Data:
        def __iter__(self) -> Any:
            passes.append(1)
            return iter(zip(X.split(7), Y.split(7), strict=True))

    monitor = SharpnessMonitor(Data(), CHEAP, subset=10, every=1)
    for step in range(3):
        found = monitor.step(linear(), step)
        assert found is not None
        assert found["gradient_norm"].samples == 10
    assert len(passes) == 1
    assert monitor.to_frame(wide=True)["gradient_norm"].nunique() == 1


@pytest.mark.parametrize(
    ("told", "measured"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 3]),
        ([1, 2, 3, 4], [3]),
        ([0, 2, 4, 6, 8], [0, 4, 6]),
        ([2, 2, 3, 3, 3, 4], [3]),
        ([0, 0, 1], [0]),
        ([7, 8, 20, 21], [20, 21]),
    ],
)
def test_measures_at_multiples_or_at_the_first_step_past_them(told: list[int], measured: list[int]) -> None:
    monitor = SharpnessMonitor((X, Y), CHEAP, every=3)
    returned = [step for step in told if monitor.step(linear(), step) is not None]
    assert returned == measured == list(monitor.to_frame(wide=True).index)


def test_the_table_has_a_row_for_each_step_and_measure(clock: FakeClock) -> None:
    seen = []

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        clock.now += 1
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    asked = {"norm": {"measure": "parameter_norm"}, "hessian_trace": {"probes": 4}}
    monitor = SharpnessMonitor((X, Y), asked, loss=loss, every=2, on_record=lambda *record: seen.append(record))
    models = [linear(), network()]
    found = [monitor.step(model, step) for step, model in zip([2, 4], models, strict=True)]
    long = monitor.to_frame()
    assert list(long.columns) == ["step", "key", "value", "stderr", "converged", "seconds", "reason"]
    assert list(zip(long["step"], long["key"], strict=True)) == [(s, k) for s in (2, 4) for k in asked]
    assert list(long["value"]) == [e.value for m in found for e in m.values()]  # type: ignore[union-attr]
    assert list(long["stderr"]) == [e.stderr for m in found for e in m.values()]  # type: ignore[union-attr]
    assert all(long["converged"])
    assert set(long["reason"]) == {""}
    assert (long.groupby("step")["seconds"].nunique() == 1).all()
    assert long.groupby("step")["seconds"].first().sum() == clock.now - 100
    wide = monitor.to_frame(wide=True)
    assert list(wide.columns) == ["norm", "norm_stderr", "hessian_trace", "hessian_trace_stderr"]
    assert wide["norm"].to_dict() == long[long["key"] == "norm"].set_index("step")["value"].to_dict()
    assert seen == list(zip([2, 4], found, strict=True))


def test_an_empty_record_is_a_table_too() -> None:
    monitor = SharpnessMonitor((X, Y), CHEAP)
    assert list(monitor.to_frame().columns)[:3] == ["step", "key", "value"]
    assert len(monitor.to_frame(wide=True)) == 0
    assert monitor.overhead == 0


def test_records_on_demand_and_the_last_word_of_a_step_stands() -> None:
    monitor = SharpnessMonitor((X, Y), ["parameter_norm"], every=100)
    model = linear()
    monitor.record(model, 17)
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    monitor.record(model, 17)
    assert len(monitor.to_frame()) == 2
    assert monitor.to_frame(wide=True).loc[17, "parameter_norm"] == 0


@pytest.mark.parametrize("wide", [False, True])
def test_files_hold_the_table(tmp_path: Any, wide: bool) -> None:
    monitor = SharpnessMonitor((X, Y), CHEAP, every=1)
    for step in range(2):
        monitor.step(linear(), step)
    monitor.to_csv(tmp_path / "new" / "record.csv", wide=wide)
    monitor.to_parquet(str(tmp_path / "record.parquet"), wide=wide)
    frame = monitor.to_frame(wide=wide)
    frame = frame.reset_index() if wide else frame
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "record.parquet"), frame)
    from_csv = pd.read_csv(tmp_path / "new" / "record.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(from_csv, frame, check_dtype=False)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["new", "record.csv", "record.parquet"]


def test_overhead_is_the_share_of_the_time_since_the_first_step(clock: FakeClock) -> None:
    monitor = timed_monitor(clock, seconds=1.0)
    model = linear()
    for step in range(11):
        monitor.step(model, step)
        clock.now += 1.9
    # Steps 0 to 10 are 10 steps of 1.9 s apart, and 0, 5 and 10 took 1 s more each.
    assert monitor.overhead == pytest.approx(3 / 22)
    assert "13.6% of the time" in repr(monitor)


def timed_monitor(clock: FakeClock, *, seconds: float, **arguments: Any) -> SharpnessMonitor:
    """Return a monitor every 5 steps whose measurements take some seconds by the clock."""

    def forward(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        # A look at a few samples costs nothing by this clock.
        clock.now += seconds * (len(inputs) == len(X))
        return model(inputs)

    # All samples are seen once, since one pass over one batch is enough.
    return SharpnessMonitor((X, Y), ["parameter_norm"], every=5, forward=forward, **arguments)


def test_skips_what_would_cost_too_much(clock: FakeClock) -> None:
    monitor = timed_monitor(clock, seconds=1.0, max_overhead=0.1)
    model = linear()
    for step in range(41):
        monitor.step(model, step)
        clock.now += 0.5
    # The second measurement waits until 2 s are a tenth of all.
    assert list(monitor.to_frame(wide=True).index) == [0, 40]
    assert monitor.skipped == 7
    assert "7 skipped" in repr(monitor)
    assert monitor.overhead <= 0.1


def test_a_record_goes_on_where_a_training_goes_on(clock: FakeClock) -> None:
    first = timed_monitor(clock, seconds=1.0, max_overhead=0.1)
    for step in range(8):
        first.step(linear(), step)
        clock.now += 0.5
    clock.now += 1000
    second = timed_monitor(clock, seconds=1.0, max_overhead=0.1)
    second.load_state_dict(first.state_dict())
    assert second.overhead == first.overhead
    assert second.skipped == 1
    for step in range(8, 41):
        second.step(linear(), step)
        clock.now += 0.5
    assert list(second.to_frame(wide=True).index) == [0, 40]
    assert first.to_frame().shape == (1, 7)


def test_knows_the_initialization_it_is_given() -> None:
    model = linear()
    init = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    found = SharpnessMonitor((X, Y), ["distance_from_init", "parameter_norm"], init=init).step(model, 0)
    assert found is not None
    assert found["distance_from_init"].value == pytest.approx(found["parameter_norm"].value)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler about itself
@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled], ids=["distributed", "compiled"])
def test_looks_through_what_wraps_a_model(wrap: Any) -> None:
    expected = SharpnessMonitor((X, Y), DEFAULT).step(network(), 0)
    found = SharpnessMonitor((X, Y), DEFAULT).step(wrap(network()), 0)
    assert found is not None
    assert expected is not None
    assert found.to_json() == expected.to_json()


def test_making_a_monitor_draws_no_global_random_numbers() -> None:
    before = torch.get_rng_state()
    SharpnessMonitor((X, Y), CHEAP)
    assert torch.equal(torch.get_rng_state(), before)

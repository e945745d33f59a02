"""Any form of the same data gives the same samples; what is no data is refused in plain words."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from sharpscope import measure
from sharpscope.curvature.risk.batches import Batch, Batches, Reservoir, same_numbers
from sharpscope.errors import NotDeterministic, SharpscopeError
from sharpscope.seeding import Stream

X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(10) % 2
Pair = namedtuple("Pair", ["a", "b"])


class Rows(Dataset[Any]):
    """Samples by index."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return X[index], int(Y[index])


class MappedRows(Rows):
    """Samples in another form."""

    def __init__(self, form: Callable[[int], Any]) -> None:
        self.form = form

    def __getitem__(self, index: int) -> Any:
        return self.form(index)


class Flipped(Rows):
    """Samples that are mirrored at random."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x, y = super().__getitem__(index)
        return (x.flip(0) if torch.rand(()) < 0.5 else x), y


class Streamed(IterableDataset[Any]):
    """Samples without an index."""

    def __iter__(self) -> Any:
        yield from zip(X, Y, strict=True)


FORMS = {
    "list": [(X[:4], Y[:4]), (X[4:], Y[4:])],
    "lists as batches": [[X[:4], Y[:4]], [X[4:], Y[4:]]],
    "an empty batch between": [(X[:4], Y[:4]), (X[:0], Y[:0]), (X[4:], Y[4:])],
    "pair of tensors": (X, Y),
    "TensorDataset": TensorDataset(X, Y),
    "Dataset": Rows(),
    "DataLoader": DataLoader(Rows(), 4),
    "shuffled DataLoader": DataLoader(Rows(), 4, shuffle=True),
    "DataLoader of an iterable dataset": DataLoader(Streamed(), 4),
    "mappings": [{"input": X[:4], "labels": Y[:4]}, {"input": X[4:], "labels": Y[4:]}],
    "one mapping": {"input": X, "labels": Y},
    "labels as a list": [{"input": X, "labels": Y.tolist()}],
    "tuples of one input": [((X,), Y)],
    "arrays": (X.numpy(), Y.numpy()),
    "batches of arrays": [(X[:4].numpy(), Y[:4].numpy()), (X[4:].numpy(), Y[4:].numpy())],
    "a mapping of arrays": {"input": X.numpy(), "labels": Y.numpy()},
    "inputs together": ((X,), Y),
    "pair as a list": [X, Y],
    "pair of arrays as a list": [X.numpy(), Y.numpy()],
    "inputs together in a list": [[X], Y],
    "lists of numbers": (X.tolist(), Y.tolist()),
    "batches of lists of numbers": [(X[:4].tolist(), Y[:4].tolist()), (X[4:].tolist(), Y[4:].tolist())],
    "a mapping of lists": {"input": X.tolist(), "labels": Y.tolist()},
    "mappings of lists": [
        {"input": X[:4].tolist(), "labels": Y[:4].tolist()},
        {"input": X[4:].tolist(), "label": Y[4:]},
    ],
    "a tensor and a list": (X, Y.tolist()),
    "an array and a list": [X.numpy(), Y.tolist()],
    "a list and a tensor": (X.tolist(), Y),
    "inputs together and a list": ((X,), Y.tolist()),
    "label": {"input": X, "label": Y},
    "arrays turned around": (X.flip(0).numpy()[::-1], Y.flip(0).numpy()[::-1]),
    "arrays of another machine": (X.numpy().astype(">f8"), Y.numpy().astype(">i4")),
    "targets as uint16": (X.numpy(), Y.numpy().astype(np.uint16)),
    "targets as objects": (X.numpy(), Y.numpy().astype(object)),
    "targets as bool": (X, Y.bool()),
    "rows of lists": MappedRows(lambda i: {"input": X[i].tolist(), "label": int(Y[i])}),
    "rows of arrays": MappedRows(lambda i: (X[i].numpy(), np.int64(Y[i]))),
}


def linear() -> nn.Module:
    model = nn.Linear(3, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).view(2, 3) / 5)
        model.bias.zero_()
    return model


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_data_gives_the_same_value(form: str, batch_size: int | None) -> None:
    weight, one_hot = linear().weight.detach(), nn.functional.one_hot(Y)
    found = measure(linear(), FORMS[form], ["gradient_norm"], batch_size=batch_size)["gradient_norm"]
    residuals = (X @ weight.T).softmax(dim=1) - one_hot
    gradient = residuals.T @ torch.cat([X, torch.ones(10, 1)], dim=1) / 10
    assert found.value == pytest.approx(float(gradient.norm()), rel=1e-12)
    assert found.samples == 10


@pytest.mark.parametrize("inputs", [(X, X[:, :1]), [X, X[:, :1]], Pair(X, X[:, :1]), {"a": X, "b": X[:, :1]}])
def test_inputs_of_several_tensors_are_arguments(inputs: Any) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = linear()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.layer(a) * b

    found = measure(Sum(), [(inputs, Y)], ["margin"], batch_size=4)["margin"]
    outputs = linear()(X).detach() * X[:, :1]
    margins = (outputs[:, 1] - outputs[:, 0]) * (2 * Y - 1)
    assert found.value == pytest.approx(float(np.quantile(margins.numpy(), 0.1)))


def test_forward_has_the_inputs_as_they_are() -> None:
    def forward(model: nn.Module, inputs: Any) -> Tensor:
        return model(inputs["x"])

    found = measure(linear(), [{"x": X, "unused": "text", "labels": Y}], ["margin"], forward=forward)
    assert found["margin"].value == measure(linear(), (X, Y), ["margin"])["margin"].value


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((b for b in [(X, Y)]), SharpscopeError, "re-iterable.*generator"),
        (iter([(X, Y)]), SharpscopeError, "re-iterable"),
        ([], SharpscopeError, "no samples"),
        ((X[:0], Y[:0]), SharpscopeError, "no samples"),
        (3, SharpscopeError, "got int"),
        ((X, Y[:4]), SharpscopeError, "equally many, got 10 and 4"),
        ([X, Y, X], SharpscopeError, "got Tensor"),
        ((X, Y[0]), SharpscopeError, "equally many, got 10 and 1"),
        ((X.to_sparse(), Y), SharpscopeError, "inputs must be a dense tensor.*sparse"),
        ((X.to("meta"), Y), SharpscopeError, "inputs must be a dense tensor.*meta"),
        ((X, np.array(list("ab" * 5))), SharpscopeError, "targets must be numbers, got an array of <U1"),
        ([(X, list("ab" * 5))], SharpscopeError, "targets must be numbers.*got str; number the classes"),
        ([(X, None)], SharpscopeError, "targets must be numbers.*got NoneType"),
        ({"input": X, "labels": None}, SharpscopeError, "got NoneType"),
        ({"input": X, "target": Y}, SharpscopeError, "must have 'labels', got .*'target'.*rename"),
        ([(0.5, 1), (0.2, 0)], SharpscopeError, "single one; pass a DataLoader"),
        ("cifar10", SharpscopeError, "got str"),
        (MappedRows(lambda i: (X[i], None)), SharpscopeError, "cannot be put into one batch.*NoneType.*collate_fn"),
        (MappedRows(lambda i: (X[i, : 1 + i % 3], 1)), SharpscopeError, "cannot be put into one batch.*equal size"),
        (MappedRows(lambda i: (X[i], 1 // (i - 3))), SharpscopeError, "fails at sample 3: ZeroDivisionError"),
        (DataLoader(MappedRows(lambda i: 1 // 0), 4), SharpscopeError, "fails at sample 0: ZeroDivisionError"),
        (DataLoader(Streamed(), 4, collate_fn=lambda rows: 1 // 0), SharpscopeError, "fail at batch 0: ZeroDivision"),
        ([(X, Y, Y)], SharpscopeError, "got tuple of 3"),
        ([{"input": X}], SharpscopeError, r"'labels', got \['input'\]"),
        ([{"input": X[0], "labels": 1}], SharpscopeError, "single one; pass a DataLoader"),
        (Streamed(), SharpscopeError, "Streamed.*DataLoader"),
        ([(X, Y[:4])], SharpscopeError, r"\(4, C\), got \(10, 2\)"),
        (Flipped(), NotDeterministic, "at random"),
        (DataLoader(Flipped(), 4), NotDeterministic, "at random"),
        (
            DataLoader(Rows(), 4, shuffle=True, drop_last=True),
            NotDeterministic,
            "drops its last batch.*drop_last=False",
        ),
        (
            DataLoader(Rows(), 4, sampler=WeightedRandomSampler([1.0] * 10, 10)),
            NotDeterministic,
            "other samples in each pass.*WeightedRandomSampler",
        ),
    ],
)
def test_unfit_data_is_refused(data: Any, error: type[Exception], message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(error, match=message):
        measure(linear(), data, ["gradient_norm"])


class Once:
    """Data that are used up after one pass, though they are no iterator."""

    def __init__(self, begin: Callable[[Iterator[Any]], Iterator[Any]]) -> None:
        self.left = iter([(X[:4], Y[:4]), (X[4:7], Y[4:7]), (X[7:], Y[7:])])
        self.begin = begin

    def __iter__(self) -> Iterator[Any]:
        return self.begin(self.left)


LOSSES: dict[str, Any] = {
    "function": lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, reduction="none"),
    "module": nn.CrossEntropyLoss(weight=torch.ones(2, dtype=torch.float64)),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_an_iterator_behind_the_data_serves_one_pass_and_no_part_of_another(loss: str) -> None:
    """A loss of the user's own takes a first look, after which samples would be missing."""
    assert measure(linear(), Once(lambda left: left), ["gradient_norm"])["gradient_norm"].samples == 10
    with pytest.raises(SharpscopeError, match=r"re-iterable.*one-time list_iterator: pass a list, a DataLoader"):
        measure(linear(), Once(lambda left: left), ["gradient_norm"], loss=LOSSES[loss])


def test_data_that_are_used_up_are_told_from_data_without_samples() -> None:
    asked = {"hessian_top_eigenvalue": {}}
    with pytest.raises(SharpscopeError, match=r"had 10 samples in the first pass and none in a later.*pass a list"):
        measure(linear(), Once(lambda left: (raw for raw in left)), asked)


@pytest.mark.parametrize("sizes", [{"batch_size": 0}, {"subset": 0}, {"subset": -3}])
def test_sizes_are_at_least_one(sizes: dict[str, int]) -> None:
    with pytest.raises(SharpscopeError, match="must be at least 1, got"):
        measure(linear(), (X, Y), **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [2.5, 4.0, "4", True, torch.tensor(4), [4]])
@pytest.mark.parametrize("name", ["batch_size", "subset"])
def test_sizes_are_whole_numbers(name: str, size: Any) -> None:
    with pytest.raises(SharpscopeError, match=f"{name} must be a whole number, got"):
        measure(linear(), (X, Y), **{name: size})
    assert measure(linear(), (X, Y), ["margin"], **{name: np.int64(4)})["margin"].samples in (4, 10)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["pair of tensors", "arrays", "lists of numbers", "rows of lists", "rows of arrays"])
def test_inputs_come_in_the_precision_of_the_model(form: str, precision: torch.dtype) -> None:
    found = measure(linear().to(precision), FORMS[form], ["gradient_norm"])["gradient_norm"].value
    expected = measure(linear(), (X.float(), Y), ["gradient_norm"])["gradient_norm"].value
    assert found == pytest.approx(expected, rel=1e-5)


def test_missing_values_in_a_dataset_are_not_taken_for_randomness() -> None:
    class Holes(Rows):
        def __getitem__(self, index: int) -> Any:
            return {"a": X[index] * torch.nan, "b": np.array([1.0, np.nan]), "c": float("nan"), "labels": 0}

    assert Batches(Holes()).population is None


@pytest.mark.parametrize("data", [[{"a": X[:4], "labels": Y[:4]}], TensorDataset(X, Y), [((X, X), Y)]])
def test_batches_larger_than_asked_are_split(data: Any) -> None:
    assert max(batch.size for batch in Batches(data, batch_size=3)) == 3


def rows_of(batches: Batches) -> list[tuple[float, ...]]:
    return [tuple(row) for batch in batches for row in batch.inputs.tolist()]


FORMS_OF_SUBSET = {name: FORMS[name] for name in ("list", "pair of tensors", "Dataset", "DataLoader")}


@pytest.mark.parametrize("form", FORMS_OF_SUBSET)
def test_a_subset_is_drawn_without_replacement_by_its_stream(form: str) -> None:
    def draw(seed: int, size: int = 4) -> Batches:
        return Batches(FORMS[form], subset=size, stream=Stream(seed), batch_size=3)

    rows = rows_of(draw(0))
    assert len(set(rows)) == 4
    assert set(rows) < {tuple(row) for row in X.tolist()}
    assert draw(0).population == 10
    assert rows_of(draw(0)) == rows
    assert any(rows_of(draw(seed)) != rows for seed in range(1, 4))
    assert set(rows_of(draw(0, size=99))) == {tuple(row) for row in X.tolist()}


@pytest.mark.parametrize("form", ["list", "Dataset"])
def test_every_sample_is_as_likely_in_a_subset(form: str) -> None:
    index = {tuple(row): i for i, row in enumerate(X.tolist())}
    counts = np.zeros(10)
    for seed in range(400):
        for row in rows_of(Batches(FORMS[form], subset=3, stream=Stream(seed))):
            counts[index[row]] += 1
    # 400 draws of 3 among 10: each sample 120 times, with a standard deviation of sqrt(400 * 0.3 * 0.7) = 9.2.
    assert np.abs(counts - 120).max() < 4 * 9.2


def test_a_subset_of_a_shuffled_loader_depends_on_the_seed_alone() -> None:
    found = set()
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        model, loader = linear(), DataLoader(TensorDataset(X, Y), 4, shuffle=True)
        before = torch.get_rng_state()
        found.add(measure(model, loader, ["gradient_norm"], subset=5)["gradient_norm"].value)
        assert torch.equal(torch.get_rng_state(), before)
    assert len(found) == 1


def test_a_subset_joins_batches_padded_to_lengths_of_their_own() -> None:
    shared = torch.ones(2, 2)
    data = [({"x": torch.full((5, n), float(n)), "shared": shared}, torch.full((5,), n)) for n in (2, 3)]
    batches = list(Batches(data, subset=8))
    assert sum(batch.size for batch in batches) == 8
    for batch in batches:
        assert batch.inputs["x"].shape == (batch.size, int(batch.targets[0]))
        assert batch.inputs["shared"].shape == (2, 2)


def test_a_loader_has_its_own_random_state_back() -> None:
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(X, Y), 4, shuffle=True, generator=generator)
    before = generator.get_state()
    measure(linear(), loader, ["gradient_norm", "hessian_trace"], subset=8)
    measure(linear(), loader, ["gradient_norm"])
    assert torch.equal(generator.get_state(), before)


def test_a_subset_of_a_dataset_is_read_once() -> None:
    class Read(Rows):
        reads = 0

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            Read.reads += 1
            return super().__getitem__(index)

    data = Batches(Read(), subset=6)
    before = Read.reads
    for _ in range(3):
        assert sum(batch.size for batch in data) == 6
    assert Read.reads == before


def test_a_reservoir_holds_the_smallest_keys_of_a_long_stream() -> None:
    """The same as sorting all keys at once, although only some samples are ever kept."""
    stream = Stream(0, "reservoir")
    keys = np.concatenate([draws.random(7) for draws in [stream.numpy()] for _ in range(30)])
    expected = sorted(np.argsort(keys)[:11].tolist())
    reservoir = Reservoir(11, stream)
    for start in range(0, 210, 7):
        reservoir.add(Batch(torch.arange(start, start + 7).float()[:, None], torch.arange(start, start + 7)))
    kept = reservoir.batches(4)
    assert [batch.size for batch in kept] == [4, 4, 3]
    assert torch.cat([batch.targets for batch in kept]).tolist() == expected
    assert reservoir.seen == 210


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_inputs_are_compared_by_their_values(layout: torch.layout) -> None:
    def made(value: float, size: int = 4) -> Tensor:
        return (value * torch.eye(size)).to_sparse(layout=layout)

    assert same_numbers((made(2.0),), (made(2.0),))
    assert not same_numbers((made(2.0),), (made(3.0),))
    assert not same_numbers((made(2.0),), (made(2.0, 5),))


class OfSparse(nn.Module):
    """A product with inputs that may be sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4))
        self.head = nn.Linear(4, 2).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(x @ self.weight))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"subset": 6, "seed": 1}])
def test_sparse_inputs_with_a_row_a_sample_are_as_good_as_dense_ones(
    layout: torch.layout, options: dict[str, Any]
) -> None:
    model, inputs = OfSparse(), X * (X > 0)
    asked = {"gradient_norm": {}, "margin": {}, "hessian_trace": {"sketch": 2, "probes": 4}, "sam_sharpness": {}}
    found = measure(model, [(inputs.to_sparse(layout=layout), Y)], asked, **options)
    expected = measure(model, [(inputs, Y)], asked, **options)
    assert {k: e.value for k, e in found.items()} == pytest.approx({k: e.value for k, e in expected.items()}, rel=1e-9)

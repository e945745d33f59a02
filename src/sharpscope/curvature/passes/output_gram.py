"""The Gram matrix of Jacobian rows of many samples, without ever holding all rows.

With rows ``b_nr = c_nr^T J_n``, J_n the Jacobian of sample n's outputs in all P parameters and R cotangents c_nr, it is
``K = B B^T``, shape ``[m R, m R]``: a sum over parameters, built from one group of parameters after the other. What is
kept of a group is, for each parameter, whichever costs less: rows, or the factors of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sharpscope.curvature.passes.sample_jacobians import Use, accounts_for_gradient, pull_rows, pull_uses
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch
from sharpscope.errors import NotDefined

# Bytes kept at a time of a group of parameters; a single parameter may need more.
_BUDGET = 1 << 30
_COLUMNS = 8192
_ROWS = 512
# Numbers of an intermediate of the kernel of factors.
_KERNEL_NUMBERS = 1 << 24


def output_gram(risk: Risk, batches: Sequence[Batch], cotangents: Sequence[Tensor], *, budget: int = _BUDGET) -> Tensor:
    """Return the Gram matrix of Jacobian rows over all parameters, ``[m R, m R]`` in the precise dtype.

    Products are taken in the precision of the model, in blocks whose sums are kept in the precise dtype. Peak memory:
    the result, twice, ``budget``, and what R backward passes of one batch need.

    Args:
        risk: The model, entered as a context.
        batches: The m samples.
        cotangents: For each batch, R cotangents a sample: ``[B, R, C]``.
        budget: Bytes kept of Jacobians at a time; the number of passes over the m samples grows as it falls.
    """
    sample = next(iter(risk.parameters.values()))
    samples = sum(batch.size for batch in batches)
    plans = _plans(risk, batches[0], cotangents[0])
    while True:
        size = samples * cotangents[0].shape[1]
        gram = torch.zeros(size, size, dtype=risk.precise, device=sample.device)
        groups = _groups(plans, samples * sample.element_size(), budget)
        if all(_add_group(gram, risk, group, batches, cotangents) for group in groups):
            return gram.triu() + gram.triu(1).T
        plans = _plans_by_sample(risk, cotangents[0].shape[1])


def _add_group(
    gram: Tensor, risk: Risk, group: list[_Plan], batches: Sequence[Batch], cotangents: Sequence[Tensor]
) -> bool:
    """Add the products of a group of parameters; return whether that could be done in the way planned."""
    samples, count = sum(batch.size for batch in batches), cotangents[0].shape[1]
    rows = [plan.name for plan in group if plan.factored is None]
    wide = sum(risk.parameters[name].numel() for name in rows)
    empty = next(iter(risk.parameters.values())).new_zeros(samples, count, wide)
    store = _Store(rows, empty, {p.name: [] for p in group if p.factored})
    start = 0
    for batch, cotangent in zip(batches, cotangents, strict=True):
        part = slice(start, start + batch.size)
        if group[0].by_sample:
            store.rows[part] = pull_rows(risk, batch, cotangent, rows)
        else:
            pulled = pull_uses(risk, batch, cotangent, [p.name for p in group])
            if not pulled.complete:
                return False
            store.take(risk, part, pulled.uses)
        start += batch.size
    _add_rows(gram, store.rows.flatten(0, 1))
    del store.rows, empty
    for plan in group:
        if plan.factored is not None:
            inputs, gradients = _joined(store.factors.pop(plan.name))
            add = _add_kernel if plan.factored == "kernel" else _add_products
            add(gram, inputs, gradients, plan.width)
    return True


@dataclass
class _Plan:
    """How the Jacobians in one parameter are kept.

    Attributes:
        name: Of the parameter.
        numbers: Kept for each sample.
        factored: None for rows; "kernel" if rows are never formed; "products" if they are formed from factors.
        width: D, the length of an input vector of a factored operation.
        by_sample: Rows come from plain backward passes, sample by sample.
    """

    name: str
    numbers: int
    factored: str | None = None
    width: int = 0
    by_sample: bool = False


@dataclass
class _Store:
    """What is kept of one group of parameters: rows ``[m, R, P]`` in order of ``names``, and factors by name."""

    names: list[str]
    rows: Tensor
    factors: dict[str, list[tuple[Tensor, Tensor]]]

    def take(self, risk: Risk, part: slice, uses: Sequence[Use]) -> None:
        """Take in what the uses hold of the samples ``part``."""
        start = 0
        for name in self.names:
            stop = start + risk.parameters[name].numel()
            for use in uses:
                if name in use.operation.parameters:
                    self.rows[part, :, start:stop] += use.rows(use.role(name, risk.parameters))
            start = stop
        for name, kept in self.factors.items():
            for use in uses:
                if name in use.operation.parameters:
                    found = use.factors()
                    assert found is not None, "planned as factored from the same operation"
                    kept.append((found[0], found[1].contiguous()))


def _plans_by_sample(risk: Risk, count: int) -> list[_Plan]:
    return [_Plan(name, count * p.numel(), by_sample=True) for name, p in risk.parameters.items()]


def _plans(risk: Risk, batch: Batch, cotangents: Tensor) -> list[_Plan]:
    """Decide how to keep each parameter, from one sample run through the model and a few compared with autograd."""
    count = cotangents.shape[1]
    try:
        probe = pull_uses(risk, batch.take(slice(0, 1)), cotangents[:1])
    except Exception as error:
        raise NotDefined(f"the model cannot be evaluated on a sample alone: {error}") from error
    if not probe.complete or not accounts_for_gradient(risk, risk.reach.few(batch)):
        return _plans_by_sample(risk, count)
    uses: dict[str, list[Use]] = {name: [] for name in risk.parameters}
    for use in probe.uses:
        for name in use.operation.parameters:
            uses[name].append(use)
    return [_plan(risk, name, found, count) for name, found in uses.items() if found]


def _plan(risk: Risk, name: str, uses: list[Use], count: int) -> _Plan:
    rows = _Plan(name, count * risk.parameters[name].numel())
    if len(uses) > 1 or uses[0].role(name, risk.parameters) != "weight":
        return rows
    found = uses[0].factors()
    if found is None:
        return rows
    inputs, gradients = found
    steps, out = gradients.shape[2:]
    known = inputs.is_floating_point()
    width = inputs.shape[2] if known else risk.parameters[name].shape[0]
    inner = width if known else 1
    # Multiplications for one pair of samples.
    by_rows = count**2 * out * width
    by_kernel = steps**2 * (inner + count * out) + count**2 * steps * out
    numbers = steps * (inner + count * out)
    if by_kernel < by_rows:
        return _Plan(name, numbers, "kernel", width)
    return _Plan(name, numbers, "products", width) if numbers < rows.numbers and known else rows


def _groups(plans: Sequence[_Plan], size: int, budget: int) -> list[list[_Plan]]:
    """Return the plans in groups that keep at most ``budget`` bytes each, where a number takes ``size`` bytes."""
    groups: list[list[_Plan]] = []
    room = 0
    for plan in plans:
        need = plan.numbers * size
        if need > room or not groups:
            groups.append([])
            room = budget
        groups[-1].append(plan)
        room -= need
    return groups


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Join factors of batches; shorter ones, of sequences padded batch by batch, get positions without a gradient."""
    steps = max(gradients.shape[2] for _, gradients in parts)
    inputs, gradients = [], []
    for a, g in parts:
        missing = steps - g.shape[2]
        inputs.append(F.pad(a, (0, 0, 0, missing) if a.is_floating_point() else (0, missing)))
        gradients.append(F.pad(g, (0, 0, 0, missing)))
    return torch.cat(inputs), torch.cat(gradients)


def _add_rows(gram: Tensor, rows: Tensor) -> None:
    """Add ``rows rows^T``, rows ``[m R, columns]``, to the upper triangle."""
    for block in rows.split(_COLUMNS, dim=1):
        for start in range(0, len(block), _ROWS):
            stop = start + _ROWS
            gram[start:stop, start:] += block[start:stop] @ block[start:].T


def _add_products(gram: Tensor, inputs: Tensor, gradients: Tensor, width: int) -> None:
    """Add the products of rows that are formed from factors, some outputs of the operation at a time."""
    step = max(1, _COLUMNS // width)
    for part in gradients.split(step, dim=3):
        _add_rows(gram, torch.einsum("nrto,ntd->nrod", part, inputs).flatten(2).flatten(0, 1))


def _add_kernel(gram: Tensor, inputs: Tensor, gradients: Tensor, width: int) -> None:
    """Add the products of rows ``sum_t g_nrt a_nt^T`` without forming them: sums over t, t' of products of factors.

    Args:
        gram: Added to in its upper triangle.
        inputs: a, ``[m, T, D]``, or indices ``[m, T]`` that stand for unit vectors.
        gradients: g, ``[m, R, T, O]``.
        width: D.
    """
    samples, count, steps, out = gradients.shape
    side = max(1, int((_KERNEL_NUMBERS / (steps * count * out)) ** 0.5))
    for i in range(0, samples, side):
        for j in range(i, samples, side):
            left, right = gradients[i : i + side], gradients[j : j + side]
            inner = _inner(inputs[i : i + side], inputs[j : j + side]).to(gradients)
            mixed = torch.einsum("itju,jsuo->ijtso", inner, right)
            block = torch.einsum("irto,ijtso->irjs", left, mixed).flatten(2).flatten(0, 1)
            a, b = i * count, j * count
            gram[a : a + block.shape[0], b : b + block.shape[1]] += block


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Return the inner products of all positions of all samples, ``[I, T, J, T]``."""
    if left.is_floating_point():
        return torch.einsum("itd,jud->itju", left, right)
    return left[:, :, None, None] == right

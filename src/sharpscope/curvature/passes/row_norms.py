"""Squared norms of Jacobian rows, summed over the samples of a batch, by parameter.

With rows ``b_nr = v_nr^T J_n``, J_n the Jacobian of sample n's outputs in a parameter, it is ``sum_nr w_nr |b_nr|^2``.
That is the trace of ``sum_n J_n^T A_n J_n`` with ``A_n = sum_r w_nr v_nr v_nr^T``, from R backward passes to the
outputs of the operations. Where their factors are the smaller ones, rows are not formed: the squared norm of one is a
sum over pairs of positions, ``sum_tu (a_t a_u) (g_t g_u)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sharpscope.curvature.passes.sample_jacobians import Use, UseRecorder
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch

# Numbers of gradients that are held together, and of what norms are made of.
_HELD = 1 << 24
_PIECE = 1 << 22
# Samples that run together at least: single ones would keep a processor waiting.
_FEW = 16

# The uses of one parameter, with its role in each.
_Uses = list[tuple[Use, str]]


def weighted_row_norms(
    risk: Risk, batch: Batch, directions: Tensor, weights: Tensor, wanted: Sequence[str]
) -> Parameters | None:
    """Return ``sum_nr w_nr |v_nr^T J_n|^2`` in the precision of the weights, a scalar for each parameter.

    The batch is cut so that the gradients of some samples in all R directions are there together, since what norms are
    made of, such as the patches of convolutions, serves them all. Memory: some 200 MB, or what one direction of 16
    samples takes, and the graph of as many samples.

    Args:
        risk: A model for which ``accounts_for_gradient``.
        batch: B samples.
        directions: v, ``[B, R, C]``.
        weights: w, ``[B, R]``.
        wanted: Names of the parameters.

    Returns:
        None if a parameter is used in another way for these samples.
    """
    sums = dict.fromkeys(wanted, weights.new_zeros(()))
    start, step = 0, _FEW
    while start < batch.size:
        part = slice(start, start + step)
        some = batch.take(part)
        recorder = UseRecorder(risk.parameters, some.size, wanted)
        outputs = recorder.run(risk, some)
        if not recorder.complete:
            return None
        numbers = 0  # of gradients in all directions
        for place, held, squares in _squares_along(recorder, outputs, directions[part], risk.parameters):
            numbers += held
            for name in sums.keys() & squares:
                sums[name] = sums[name] + (weights[part, place] * squares[name].to(weights)).sum()
        start += step
        step = max(_FEW, _HELD * some.size // max(numbers, 1))
    return sums


def _squares_along(
    recorder: UseRecorder, outputs: Tensor, directions: Tensor, parameters: Parameters
) -> Iterator[tuple[slice, int, Parameters]]:
    """Yield some of the directions, the numbers of gradients in them, and squared norms ``[B, r]`` by parameter."""
    start, count = 0, directions.shape[1]
    for stop, direction in enumerate(directions.to(outputs).unbind(dim=1), start=1):
        recorder.pull(outputs, direction)
        held = sum(use.size for use in recorder.uses)
        if stop < count and held + held // (stop - start) <= _HELD:
            continue
        found = _uses_by_parameter(recorder.uses, parameters)
        yield slice(start, stop), held, {name: _squares(uses, parameters[name]) for name, uses in found.items()}
        for use in recorder.uses:
            use.pulled.clear()
        start = stop


def _uses_by_parameter(uses: Sequence[Use], parameters: Parameters) -> dict[str, _Uses]:
    """Return the uses that gradients reach."""
    found: dict[str, _Uses] = {}
    for use in uses:
        for name in use.operation.parameters if use.pulled else ():
            found.setdefault(name, []).append((use, use.role(name, parameters)))
    return found


def _squares(uses: _Uses, parameter: Tensor) -> Tensor:
    """Return the squared norms of the rows of one parameter, ``[B, R]``; of some samples at a time."""
    use, role = uses[0]
    way, numbers = _squares_of_rows, _numbers_of_rows(uses, parameter)
    if len(uses) == 1 and role == "weight" and use.has_factors:
        kernel = _numbers_of_kernel(use, parameter)
        if kernel is not None:
            way, numbers = _squares_by_kernel, kernel
    step = max(1, _PIECE // max(numbers, 1))
    parts = (slice(start, start + step) for start in range(0, len(use.inputs), step))
    return torch.cat([way([(use.take(part), role) for use, role in uses]) for part in parts])


def _numbers_of_rows(uses: _Uses, parameter: Tensor) -> int:
    """Return how many numbers the rows of one sample are, and what they are made of."""
    passes = len(uses[0][0].pulled)
    return passes * (parameter.numel() + sum(use.pulled[0][0].numel() for use, _ in uses))


def _numbers_of_kernel(use: Use, parameter: Tensor) -> int | None:
    """Return how many numbers sums over pairs of positions take for one sample; None where rows take less time."""
    passes, embedded = len(use.pulled), use.operation.function is F.embedding
    out = parameter.shape[1] if embedded else parameter.shape[0]
    steps, width = use.pulled[0][0].numel() // out, 1 if embedded else parameter.numel() // out
    by_kernel = steps**2 * (width + passes * (out + 1))
    # A row of an embedding is mostly zeros, and as long as its vocabulary is large.
    if not embedded and by_kernel > passes * steps * out * width:
        return None
    return steps * (width + passes * out) + steps**2 * (1 + passes)


def _squares_of_rows(uses: _Uses) -> Tensor:
    first, *others = (use.rows(role) for use, role in uses)
    rows = sum(others, start=first)
    return torch.linalg.vector_norm(rows, dim=2, dtype=_single(rows.dtype)).square()


def _squares_by_kernel(uses: _Uses) -> Tensor:
    ((use, _),) = uses
    factors = use.factors()
    assert factors is not None, "chosen for its factors"
    inputs, gradients = factors
    gradients = gradients.to(_single(gradients.dtype))
    if not inputs.is_floating_point():
        inner = (inputs[:, :, None] == inputs[:, None, :]).to(gradients)
    else:
        inputs = inputs.to(gradients)
        if inputs.shape[1] == 1:
            return inputs.square().sum(dim=(1, 2))[:, None] * gradients.square().sum(dim=(2, 3))
        inner = inputs @ inputs.mT
    return (gradients @ gradients.mT * inner[:, None]).sum(dim=(2, 3))


def _single(dtype: torch.dtype) -> torch.dtype:
    """Return a precision in which squares do not overflow: at least the single one."""
    return torch.promote_types(dtype, torch.float32)

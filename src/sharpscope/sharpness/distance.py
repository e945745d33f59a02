"""The distance from initialization: how far training has moved the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes.reductions import Count, norm_of
from sharpscope.curvature.risk import Risk
from sharpscope.errors import NotDefined, SharpscopeError


@measure(
    MeasureFacts(
        label="Distance from initialization",
        symbol=r"\|\theta - \theta_0\|",
        sharper_is="larger",
        invariances=frozenset(),
        cost="nothing beside other measures; one forward pass, which counts the samples, alone",
        exact=True,
        scale="ratio",
        reference=(
            'Nagarajan and Kolter, "Generalization in Deep Networks: The Role of Distance from Initialization", '
            "NeurIPS 2017 workshop, arXiv 1901.01672"
        ),
        caveats=(
            "A control, not a sharpness.",
            "It needs the initialization: a study knows it, elsewhere it is given by the option init.",
        ),
        kind="control",
    )
)
def distance_from_init(risk: Risk, *, init: str | None = None) -> Steps:
    r"""Euclidean distance of the parameters from where training began, each tied parameter once (a control).

    .. math:: \|\theta - \theta_0\|_2

    Args:
        risk: The model's risk, which may know the initialization; the data are counted, not used.
        init: A safetensors file with the parameters before training under the model's names; what the risk knows of
            them when None. Further tensors in it, such as buffers, do not harm.

    Returns:
        The exact value (``stderr`` 0).

    Raises:
        NotDefined: If the initialization is not known.
        SharpscopeError: If it is unreadable, or that of another model.
    """
    start = _read(init) if init is not None else risk.init
    if start is None:
        raise NotDefined(
            "the initialization is not known; pass a safetensors file of the parameters before training as the option "
            "init, or these themselves as SharpnessMonitor(init=...)"
        )
    distance = norm_of(p - _counterpart(start, name, p, risk.precise) for name, p in risk.parameters.items())
    count = Count()
    yield count
    return Estimate(distance, samples=count.samples)


def _read(path: str) -> Mapping[str, Tensor]:
    try:
        return load_file(Path(path))
    except (OSError, SafetensorError) as error:
        raise SharpscopeError(f"the initialization '{path}' cannot be read as a safetensors file: {error}") from None


def _counterpart(start: Mapping[str, Tensor], name: str, parameter: Tensor, precise: torch.dtype) -> Tensor:
    found = start.get(name)
    if found is None or found.shape != parameter.shape:
        came = "nothing" if found is None else f"shape {tuple(found.shape)}"
        raise SharpscopeError(
            f"the initialization is that of another model: parameter '{name}' has shape {tuple(parameter.shape)}, "
            f"there it has {came}"
        )
    return found.detach().to(parameter.device, precise)

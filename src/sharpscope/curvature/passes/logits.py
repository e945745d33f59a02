"""Cross-entropy takes logits: outputs that are probabilities already are noticed before they pass a second softmax."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch
from sharpscope.curvature.risk.losses import CrossEntropy, ModifiedCrossEntropy
from sharpscope.errors import SharpscopeError
from sharpscope.probabilities import are_probabilities

# Nodes of the graph that hand values on as they are.
_HANDS_ON = frozenset({
    "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Clone", "Alias", "Slice", "Permute", "Transpose",
    "T", "ToCopy", "Expand",
})  # fmt: skip


def check_logits(risk: Risk, batch: Batch, outputs: Tensor) -> None:
    """See that cross-entropy is given logits; other losses may take what they like.

    Args:
        risk: What the loss is of.
        batch: Any batch of it.
        outputs: Of the batch, ``[B, C]``.

    Raises:
        SharpscopeError: If the outputs are probabilities.
    """

    def with_graph() -> Tensor:
        with torch.enable_grad():
            return risk.call(batch, {name: p.detach().requires_grad_() for name, p in risk.parameters.items()})

    if not isinstance(risk.loss, CrossEntropy | ModifiedCrossEntropy):
        return
    found = probabilities_in(outputs, with_graph)
    if found is not None:
        raise SharpscopeError(
            f"cross_entropy takes logits and applies a softmax itself, and the model's outputs are {found}; measure "
            "the model without its last layer, or pass the loss that it was trained with as a callable"
        )


def probabilities_in(outputs: Tensor, with_graph: Callable[[], Tensor]) -> str | None:
    """Return what says that outputs are probabilities; None where they may be logits.

    Args:
        outputs: Shape ``[B, C]``.
        with_graph: Returns the same with their graph, which tells the values of a sigmoid from small logits.
    """
    if are_probabilities(outputs):
        return "probabilities, of which none is negative and which sum to 1 in each sample"
    within = outputs.shape[1] > 1 and bool(((outputs >= 0) & (outputs <= 1)).all())
    return "probabilities, those of a sigmoid" if within and _ends_in_sigmoid(with_graph()) else None


def _ends_in_sigmoid(outputs: Tensor) -> bool:
    node = outputs.grad_fn
    while node is not None and node.name().rstrip("0123456789").removesuffix("Backward") in _HANDS_ON:
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith("SigmoidBackward")

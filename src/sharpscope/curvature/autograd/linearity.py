"""Whether a tensor is piecewise linear in what its graph begins with, seen from the functions in that graph."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from sharpscope.curvature.autograd.functions import all_behind

# PyTorch's own functions have a number at the end of their names; those of a user's autograd.Function have none.
_OWN = re.compile(r"(\w+)Backward\d+")
_BEGINNINGS = frozenset({"torch::autograd::AccumulateGrad", "torch::autograd::CopyBackwards"})
# Linear, or piecewise linear, in all of their differentiable arguments together: sums, moves of entries, averages,
# maxima, and functions of single entries.
_KNOWN = """
    Add Cumsum Mean Neg Rsub Sub Sum
    Alias AsStrided Cat Clone Col2Im ConstantPadNd Diagonal Expand Flip Gather Im2Col Index IndexSelect MaskedFill
    Permute PixelShuffle PixelUnshuffle ReflectionPad1D ReflectionPad2D ReflectionPad3D Repeat ReplicationPad1D
    ReplicationPad2D ReplicationPad3D ReshapeAlias Roll Select Slice Split SplitWithSizes Squeeze Stack T ToCopy
    Transpose Unbind Unfold UnsafeSplit UnsafeView Unsqueeze View
    AdaptiveAvgPool2D AdaptiveAvgPool3D AvgPool2D AvgPool3D MkldnnAdaptiveAvgPool2D UpsampleBicubic2D UpsampleBilinear2D
    UpsampleLinear1D UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D UpsampleTrilinear3D
    AdaptiveMaxPool2D AdaptiveMaxPool3D Amax Amin Max Maximum MaxPool2DWithIndices MaxPool3DWithIndices Min Minimum Sort
    Topk Where
    Abs Clamp ClampMax ClampMin Hardshrink Hardsigmoid Hardtanh LeakyRelu Relu Softshrink Threshold
"""
_LINEAR = frozenset(_KNOWN.split())
# Linear in each of their arguments, so in one where the others are constant.
_PRODUCTS = frozenset({"Addmm", "Addmv", "Baddbmm", "Bmm", "Convolution", "Dot", "Linear", "Mm", "Mul", "Mv"})
_BATCH_NORMS = frozenset({"CudnnBatchNorm", "MiopenBatchNorm", "NativeBatchNorm"})


def is_piecewise_linear(tensor: Tensor) -> bool:
    """Tell whether a tensor is certainly a piecewise linear function of the leaves of its graph.

    It is where its graph is made of functions that are known to be, in which no two factors depend on the leaves.
    """
    return all(_is_linear(function) for function in all_behind([tensor]))


def _is_linear(function: Any) -> bool:
    if function.name() in _BEGINNINGS:
        return True
    own = _OWN.fullmatch(function.name())
    kind = own.group(1) if own else ""
    if kind in _LINEAR:
        return True
    # What does not depend on the leaves has no function.
    varying = [index for index, (source, _) in enumerate(function.next_functions) if source is not None]
    if kind == "Div":
        return varying == [0]
    if kind in _BATCH_NORMS and getattr(function, "_saved_training", True):
        return False
    return kind in _PRODUCTS | _BATCH_NORMS and len(varying) == 1

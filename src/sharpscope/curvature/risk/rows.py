"""Rows of tensors, dense and sparse: PyTorch indexes and joins the ones in another way than the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def take_rows(tensor: Tensor, index: slice | Tensor) -> Tensor:
    """Return some rows of a tensor, in its own layout.

    >>> take_rows(torch.eye(3).to_sparse(), slice(1, 3)).to_dense()
    tensor([[0., 1., 0.],
            [0., 0., 1.]])
    """
    if tensor.layout is torch.strided:
        return tensor[index]
    if isinstance(index, slice):
        index = torch.arange(tensor.shape[0])[index]
    return tensor.to_sparse_coo().index_select(0, index.to(tensor.device)).to_sparse(layout=tensor.layout)


def join_rows(tensors: Sequence[Tensor]) -> Tensor:
    """Return the rows of several tensors of the same layout below one another.

    >>> join_rows([torch.eye(2).to_sparse(), torch.zeros(1, 2).to_sparse()]).to_dense()
    tensor([[1., 0.],
            [0., 1.],
            [0., 0.]])
    """
    layout = tensors[0].layout
    if layout is torch.strided:
        return torch.cat(list(tensors))
    return torch.cat([tensor.to_sparse_coo() for tensor in tensors]).to_sparse(layout=layout)

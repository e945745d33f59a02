"""Whether products are those of a symmetric matrix, seen from the products that are made anyway."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sharpscope.errors import NotDefined

# How far u^T A v and v^T A u may differ: relative to themselves or to what they are for random vectors, and in
# roundings of the largest that they could be.
_TOLERANCE = 0.05
_ROUNDINGS = 200.0
# Vectors of a block that are compared with one another.
_FEW = 4

_Sizes = tuple[Tensor, Tensor]


class Symmetry:
    """Compares ``u^T A v`` with ``v^T A u`` for some pairs of a block, and each vector and the first of all."""

    def __init__(self) -> None:
        self._first: tuple[Tensor, Tensor, _Sizes] | None = None
        self._norm = 0.0

    def check(self, vectors: Tensor, images: Tensor, *, error: float = 0.0) -> None:
        """Take vectors and their products in, rows of shape ``[k, P]``.

        Args:
            vectors: The vectors.
            images: The products of the matrix with them.
            error: The relative error of products.

        Raises:
            NotDefined: If no symmetric matrix has such products.
        """
        lengths, stretched = (t.norm(dim=1).double().cpu() for t in (vectors, images))
        self._norm = max(self._norm, float((stretched / lengths.clamp_min(1e-300)).max()))
        if len(vectors) > 1:
            forms = (vectors[:_FEW] @ images[:_FEW].T).double().cpu()
            few = lengths[:_FEW], stretched[:_FEW]
            self._compare(forms, forms.T, few, few, vectors, error)
        if self._first is None:
            first, image = vectors[0].clone(), images[0].clone()
            self._first = first, image, (lengths[:1], stretched[:1])
            return
        first, image, sizes = self._first
        forth, back = ((t @ f).double().cpu()[None] for t, f in ((images, first), (vectors, image)))
        self._compare(forth, back, sizes, (lengths, stretched), vectors, error)

    def _compare(self, forth: Tensor, back: Tensor, left: _Sizes, right: _Sizes, vectors: Tensor, error: float) -> None:
        """Compare ``u^T A v`` with ``v^T A u``, each ``[u, v]``, given the lengths of vectors and of their products."""
        sizes = torch.maximum(torch.outer(left[0], right[1]), torch.outer(left[1], right[0]))
        usual = torch.stack([forth.abs(), back.abs(), sizes / math.sqrt(vectors.shape[1])]).amax(dim=0)
        rounding = (_ROUNDINGS * torch.finfo(vectors.dtype).eps + 10 * error) * self._norm
        allowed = _TOLERANCE * usual + rounding * torch.outer(left[0], right[0])
        off = (forth - back).abs()
        if not (off > allowed).any():
            return
        i, j = divmod(int((off / allowed).argmax()), off.shape[1])
        raise NotDefined(
            f"products with the matrix are not symmetric (u^T A v = {float(forth[i, j]):.6g} and v^T A u = "
            f"{float(back[i, j]):.6g}), so an operation has a wrong derivative, or the gradients are not those of the "
            "loss (a straight-through estimator, a hook that changes gradients?), and no such matrix exists"
        )

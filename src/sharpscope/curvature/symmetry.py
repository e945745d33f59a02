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


class Symmetry:
    """Compares ``u^T A v`` with ``v^T A u`` for the pairs of a block, and for each vector and the first of all."""

    def __init__(self) -> None:
        self._first: tuple[Tensor, Tensor] | None = None
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
        if self._first is None:
            self._first = vectors[0].clone(), images[0].clone()
        else:
            vectors, images = (torch.cat([f[None], t]) for f, t in zip(self._first, (vectors, images), strict=True))
        forms = (vectors @ images.T).double().cpu()
        lengths, stretched = (t.norm(dim=1).double().cpu() for t in (vectors, images))
        self._norm = max(self._norm, float((stretched / lengths.clamp_min(1e-300)).max()))
        image_sizes = torch.outer(lengths, stretched) / math.sqrt(vectors.shape[1])
        usual = torch.stack([forms.abs(), forms.T.abs(), image_sizes, image_sizes.T]).amax(dim=0)
        rounding = (_ROUNDINGS * torch.finfo(vectors.dtype).eps + 10 * error) * self._norm
        allowed = _TOLERANCE * usual + rounding * torch.outer(lengths, lengths)
        off = (forms - forms.T).abs()
        if not (off > allowed).any():
            return
        i, j = divmod(int((off / allowed).argmax()), len(off))
        raise NotDefined(
            f"products with the matrix are not symmetric (u^T A v = {float(forms[i, j]):.6g} and v^T A u = "
            f"{float(forms[j, i]):.6g}), so an operation has a wrong derivative, or the gradients are not those of the "
            "loss (a straight-through estimator, a hook that changes gradients?), and no such matrix exists"
        )

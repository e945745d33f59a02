"""Which parameters the gradient of a model reaches, and whether what derivatives are taken of is what is evaluated.

A forward pass can cut parameters off (``no_grad``, ``detach``, ``.data``, a step without a derivative) and can compute
something else where gradients are on. Every way to a derivative would then have an answer of its own, so this is found
out once, from a few samples, before the first derivative is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sharpscope.curvature.autograd.functions import seeded
from sharpscope.curvature.autograd.sensitivity import RadialRecorder
from sharpscope.curvature.risk.batches import Batch
from sharpscope.curvature.risk.point import Parameters
from sharpscope.errors import NotDefined

if TYPE_CHECKING:
    from sharpscope.curvature.risk.empirical import Risk

# By parameter; None where autograd has none.
Gradients = dict[str, Tensor | None]
# Samples that are looked at: of their 12,870 halves, another order leaves one as it is.
FEW = 16
_NAMED = 5


class Reach:
    """What is found out of a model's derivatives; shared by all risks of the same model.

    Attributes:
        cut: The parameters that the outputs depend on and that no gradient reaches.
        uncovered: Why the operations that a recorder sees do not account for all derivatives in parameters, or None.
        refusal: Why the model has no derivatives in its parameters, or None.
        forward_mode: Whether forward mode agrees with backward passes; None until it is looked at.
    """

    def __init__(self) -> None:
        self.cut: tuple[str, ...] = ()
        self.uncovered: str | None = None
        self.refusal: NotDefined | None = None
        self.forward_mode: bool | None = None
        self._samples = 0
        self._whole = False
        self._told = False
        self._compared = False
        self._sizes: set[int] = set()

    def find(self, risk: Risk, batch: Batch) -> None:
        """Look at a few samples, once; warn of parameters that are cut off.

        Args:
            risk: The risk, entered as a context.
            batch: A batch that derivatives are taken of; looked at again if those before had too few samples.
        """
        if self._samples >= min(batch.size, FEW):
            return
        few, plain = self._plainly(risk, batch)
        self._look(risk, few, plain)
        self._samples = batch.size if self._whole else few.size
        self._compared = self._compared or few.size == batch.size
        if self.cut and not self._told:
            self._told = True
            warnings.warn(
                f"no gradient reaches {listed(self.cut)}, which the forward pass cuts off (no_grad, detach, .data, or "
                "a step without a derivative): derivatives there count as zero, while perturbations move all "
                "parameters",
                stacklevel=2,
            )

    def few(self, batch: Batch) -> Batch:
        """Return a few samples of a batch; all of it where a part cannot be evaluated."""
        return batch if self._whole or batch.size <= FEW else batch.take(slice(0, FEW))

    def _plainly(self, risk: Risk, batch: Batch) -> tuple[Batch, Tensor | None]:
        """Return a few samples and their outputs without gradients; None for a model that needs gradients to be on."""
        few = self.few(batch)
        try:
            known = risk.first_outputs(few)
            if known is not None:
                return few, known
            with torch.no_grad(), warnings.catch_warnings():
                # What a model has to say of it is for the passes that are asked for.
                warnings.simplefilter("ignore")
                return few, risk.outputs(few)
        except Exception as error:
            # Whatever else a model may raise is of a batch that is cut wrongly, or comes again with gradients.
            if risk.is_of_layout(error):
                raise
            if few is batch:
                return batch, None
        self._whole = True
        return self._plainly(risk, batch)

    def _look(self, risk: Risk, batch: Batch, plain: Tensor | None) -> None:
        outputs, found = self._differentiate(risk, batch)
        self.refusal = None if plain is None else _difference(plain, outputs)
        unreached = [name for name, gradient in found.items() if gradient is None]
        if self.refusal is not None or not unreached:
            return
        with torch.set_grad_enabled(plain is None):
            self.cut = _influential(risk, batch, unreached)
        if len(unreached) == len(found):
            cause = "the forward pass runs under no_grad, or detaches its outputs" if self.cut else "none is used"
            self.refusal = NotDefined(
                f"the outputs have no gradient in any parameter ({cause}), so what is made of derivatives has no value"
            )
            self.cut = ()

    def _differentiate(self, risk: Risk, batch: Batch, *, keep: bool = False) -> tuple[Tensor, Gradients]:
        """Return outputs and the gradients of a random combination of those of the first half of the samples."""
        leaves = {name: p.detach().requires_grad_() for name, p in risk.parameters.items()}
        recorder = RadialRecorder(leaves, batch.size, risk.precise, keep=keep)
        with torch.enable_grad(), recorder:
            outputs = risk.outputs(batch, leaves)
        if not outputs.requires_grad:
            nothing: Gradients = dict.fromkeys(leaves)
            return outputs, nothing
        cotangents = half_cotangents(risk, outputs)
        gradients = torch.autograd.grad(seeded(outputs, cotangents), list(leaves.values()), allow_unused=True)
        found: Gradients = dict(zip(leaves, gradients, strict=True))
        if recorder.overwritten and not keep:
            return self._differentiate(risk, batch, keep=True)
        self.uncovered = self.uncovered or _uncovered(recorder, risk.parameters, found, risk.precise)
        self._sizes.add(batch.size)
        return outputs.detach(), found

    def unfit_for_samples(self, risk: Risk, batch: Batch) -> str | None:
        """Return why derivatives of single samples cannot be taken from the operations that a recorder sees, or None.

        That samples are the first dimension wherever a parameter is used cannot be seen in batches whose size is by
        chance the length of their sequences. So it takes two sizes: where no other was looked at, one sample is.
        """
        if self.uncovered is None and batch.size > 1 and self._sizes <= {batch.size}:
            self.uncovered = self._of_one(risk, batch)
            self._sizes.add(1)
        return self.uncovered

    def _of_one(self, risk: Risk, batch: Batch) -> str | None:
        recorder = RadialRecorder(risk.parameters, 1, risk.precise)
        try:
            with torch.no_grad(), recorder:
                risk.call(batch.take(slice(0, 1)), risk.parameters)
        except Exception as error:
            # Whatever else a model may raise is of a batch that is cut wrongly.
            if risk.is_of_layout(error):
                raise
            return f"a sample cannot be evaluated alone: {error}"
        return recorder.uncovered

    def compare(self, risk: Risk, batch: Batch, outputs: Tensor) -> None:
        """See, once, that a whole batch has the same outputs without gradients as it had with them.

        Raises:
            NotDefined: If it has not.
        """
        if self._compared:
            return
        self._compared = True
        with torch.no_grad():
            plain = risk.outputs(batch)
        refusal = _difference(plain, outputs)
        if refusal is not None:
            raise refusal


def half_cotangents(risk: Risk, outputs: Tensor) -> Tensor:
    """Return random cotangents like the outputs, zero for the second half of the samples.

    What the operations say of these must be zero too: a model that puts samples in another order is seen so.
    """
    generator = risk.stream.child("reach").torch(outputs.device)
    cotangents = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype, device=outputs.device)
    cotangents[(len(outputs) + 1) // 2 :] = 0
    return cotangents


def _uncovered(recorder: RadialRecorder, parameters: Parameters, found: Gradients, precise: torch.dtype) -> str | None:
    """Return why what a recorder saw is not all that autograd has, or None."""
    if recorder.uncovered is not None:
        return recorder.uncovered
    missed = [name for name, gradient in found.items() if gradient is not None and name not in recorder.covered]
    if missed:
        return f"gradients reach {listed(missed)} out of sight"
    parts = list(recorder.contributions().values())
    if not parts:
        return None
    contributions = torch.stack(parts)
    size = contributions.shape[1]
    if bool((contributions[:, (size + 1) // 2 :] != 0).any()):
        return "samples stand in another order where a parameter is used"
    inner = [float((parameters[n].to(precise) * g).sum()) for n, g in found.items() if g is not None]
    expected, scale = sum(inner), contributions.abs().sum()
    if bool((contributions.sum() - expected).abs() > tolerance(next(iter(parameters.values())).dtype) * scale):
        return "the operations seen do not account for the whole gradient"
    return None


def _influential(risk: Risk, batch: Batch, names: Sequence[str]) -> tuple[str, ...]:
    """Return the parameters that the outputs change with."""
    # Computed as those that follow, to the bit.
    plain = risk.outputs(batch)
    generator = risk.stream.child("reach", "moves").torch(risk.device)
    found = []
    for name in names:
        p = risk.parameters[name]
        noise = torch.randn(p.shape, generator=generator, dtype=p.dtype, device=p.device)
        scale = float(p.abs().max()) if p.numel() else 0.0
        outputs = risk.outputs(batch, {**risk.parameters, name: p + (scale or 1.0) * noise})
        if not torch.equal(outputs, plain):
            found.append(name)
    return tuple(found)


def _difference(plain: Tensor, outputs: Tensor) -> NotDefined | None:
    """Return what to say if outputs without gradients are not those with them."""
    plain, outputs = plain.detach(), outputs.detach().to(plain)
    if not (plain.isfinite().all() and outputs.isfinite().all()):
        return None
    gap, size = float((plain - outputs).abs().max()), float(plain.abs().max())
    if gap <= tolerance(plain.dtype) * size:
        return None
    return NotDefined(
        f"the model computes something else where gradients are on (outputs differ by {gap:.2g}, their size is "
        f"{size:.2g}), so its derivatives are those of another function; let its forward not depend on gradients being "
        "on, or on requires_grad"
    )


def tolerance(dtype: torch.dtype) -> float:
    """Return the relative difference that rounding may make between two ways to the same numbers."""
    return 10 * torch.finfo(dtype).eps ** 0.5


def listed(names: Sequence[str]) -> str:
    """Return the names of parameters as a part of a sentence."""
    shown = ", ".join(f"'{name}'" for name in names[:_NAMED])
    rest = len(names) - _NAMED
    return f"the parameter{'s' if len(names) > 1 else ''} {shown}" + (f" and {rest} more" if rest > 0 else "")

"""One trained model, and the identity that tells it from every other one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sharpscope.spec.component import Component
from sharpscope.spec.regime import Regime
from sharpscope.spec.structure import Strict
from sharpscope.spec.training import Training


class Run(Strict):
    """One trained model: all that determines its weights, and nothing else."""

    data: Component
    model: Component
    training: Training
    regime: Regime
    seed: int

    def identity(self) -> dict[str, Any]:
        """Return what determines the weights; fields equal to their default are left out."""
        parts = sorted((p for p in self.regime.parts if p.name != "baseline"), key=lambda p: p.name)
        # Weights kept on the way do not change those at the end.
        others = {"checkpoints_at_loss"} | ({"check_loss_every"} if self.training.stop_at_loss is None else set())
        return {
            "data": self.data.model_dump(),
            "model": self.model.model_dump(),
            "training": self.training.model_dump(exclude_defaults=True, exclude=others),
            "regime": [part.model_dump() for part in parts],
            "seed": self.seed,
        }

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, equal in every process and version for the same identity."""
        canonical = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=6).hexdigest()

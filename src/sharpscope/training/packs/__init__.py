"""Packs: small networks of one shape that are trained together, as one batched computation.

A step of a small network costs more in calls than in arithmetic. Here the weights of many networks lie side by side in
one tensor, and a step of all of them is a few batched matrix products. Each member keeps its own data, order, learning
rate and end, and comes out as if it had been trained alone, up to the rounding of sums. To the bit it comes out the
same whoever its company is.
"""

from __future__ import annotations

from sharpscope.training.packs.fitness import enough_company, pack_key, pack_size
from sharpscope.training.packs.loop import train_pack
from sharpscope.training.packs.members import Member, members_in, take_over
from sharpscope.training.packs.network import NotPacked

__all__ = [
    "Member",
    "NotPacked",
    "enough_company",
    "members_in",
    "pack_key",
    "pack_size",
    "take_over",
    "train_pack",
]

"""The trainings that a pack is made of, and how its checkpoint knows them again."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from sharpscope.data import Dataset
from sharpscope.seeding import Stream
from sharpscope.training.checkpoint import (
    CheckpointError,
    Resumable,
    described,
    read_tree,
    weights_digest,
    write_tree,
)
from sharpscope.training.recipe import Recipe

# What the state of a pack is called in its checkpoint.
PART = "pack"


@dataclass(frozen=True)
class Member:
    """A training that is to be part of a pack.

    Attributes:
        name: Told apart from the others by it.
        model: Its initialization is where the training begins; at the end of the training it has its result.
        data: The training split is used, with labels as ``recipe.training_data`` has them.
        recipe: How to train.
        stream: Orders the data.
    """

    name: str
    model: nn.Module
    data: Dataset
    recipe: Recipe
    stream: Stream


def members_in(checkpoint: Path) -> frozenset[str]:
    """Return the names of the members whose trainings the checkpoint of a pack has; none where there is no such file.

    Raises:
        CheckpointError: If it is damaged.
    """
    return frozenset(_states(read_tree(checkpoint))) if checkpoint.exists() else frozenset()


def take_over(checkpoint: Path, names: Collection[str], into: Path) -> None:
    """Let some members of a pack be a pack of their own, which goes on from where they were.

    Args:
        checkpoint: Of the pack.
        names: Of the members.
        into: The checkpoint of the new pack.

    Raises:
        CheckpointError: If the former is damaged.
    """
    tree = read_tree(checkpoint)
    pack = tree["parts"][PART]
    kept = {name: state for name, state in _states(tree).items() if name in names}
    write_tree(into, {**tree, "parts": {PART: {**pack, "members": kept}}})


def _states(tree: Any) -> dict[str, Any]:
    """Return the state of each member in a checkpoint, by its name."""
    members: dict[str, Any] = tree["parts"][PART]["members"]
    return members


class ByName:
    """The state of a pack with its members by their names, so that it is found again by those of them that are left.

    Beside the state of each stands what tells its training from others that must not be confused with it.

    Args:
        pack: Its state has ``members`` by their numbers.
        members: Of the pack, before their models change.
    """

    def __init__(self, pack: Resumable, members: Sequence[Member]) -> None:
        self._pack = pack
        self._members = list(members)
        self._begun = [weights_digest(member.model) for member in members]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the pack, and of each member whose training has not ended."""
        state = self._pack.state_dict()
        members = {
            self._members[number].name: {"identity": self._identities[number], **own}
            for number, own in state["members"].items()
        }
        return {**state, "members": members}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            CheckpointError: If a member is not there as it is here.
        """
        members = {number: self._found(state["members"], number) for number in range(len(self._members))}
        self._pack.load_state_dict({**state, "members": members})

    def _found(self, states: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        name, identity = self._members[number].name, self._identities[number]
        if name not in states:
            raise CheckpointError(f"the checkpoint of the pack has no member '{name}'")
        found = states[name]["identity"]
        if found != identity:
            other = sorted(key for key in identity if found.get(key) != identity[key])
            raise CheckpointError(f"the checkpoint of the pack has another '{name}': it differs in {', '.join(other)}")
        return states[name]

    @cached_property
    def _identities(self) -> list[dict[str, Any]]:
        """What each training is as it begins, as JSON values."""
        own = [
            {
                **described(member.recipe),
                "data": member.data.digest,
                "initialization": begun,
                "stream": member.stream.path,
            }
            for member, begun in zip(self._members, self._begun, strict=True)
        ]
        return json.loads(json.dumps(own))

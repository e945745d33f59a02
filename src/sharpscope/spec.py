"""What a study, a run and a regime are: their structure, the expansion of a grid, and the identity of a run.

Only structure is checked here. Names and options are resolved against the registries by ``sharpscope.study.plan``.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from sharpscope.errors import SpecError, suggest
from sharpscope.registry import A_LIST, expectation

Loc = tuple[str | int, ...]

REQUIRED = ("name", "data", "model")
# The key by which a study file names the study that it changes. It is gone where the two are one.
EXTENDS = "extends"

# Control characters, ends of lines and of paragraphs, and halves of characters.
_NO_TEXT = ("Cc", "Zl", "Zp", "Cs")
# Planning takes some 3 ms and 8 kB for each.
MOST_RUNS = 100_000


class Strict(BaseModel):
    """A frozen structure that knows all its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Component(Strict):
    """Something chosen by name from a registry, with its options: ``{name: resnet8, width: 16}`` or just ``resnet8``.

    Attributes:
        name: The name in its registry.
        options: What stands beside the name.
        version: The version of the registered definition; the plan fills it in.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    version: int = 1

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping):
            rest = {str(k): v for k, v in value.items() if k not in {"name", "options", "version"}}
            known = {k: v for k, v in value.items() if k in {"name", "version"}}
            options = value.get("options")
            options = {} if options is None else options
            if not isinstance(options, Mapping):
                raise ValueError(
                    f"the options of '{value.get('name')}' are a mapping of names to values, got {options!r}"
                )
            return {**known, "options": {**options, **rest}}
        return value

    @model_serializer
    def _to_yaml(self) -> dict[str, Any]:
        version = {} if self.version == 1 else {"version": self.version}
        return {"name": self.name, **self.options, **version}


class Training(Strict):
    """The recipe that all regimes of a study share.

    Attributes:
        optimizer: A name from ``torch.optim``, in any case: ``sgd``, ``adam``, ``adamw``.
        lr: The learning rate at the beginning.
        momentum: For optimizers that take one; the optimizer's own default when None.
        optimizer_options: Further arguments of the optimizer.
        batch_size: Samples a step; the last batch of an epoch is smaller where they do not divide.
        epochs: Passes over the training data.
        schedule: How the learning rate changes from step to step, over the whole training.
        schedule_options: Further arguments of the schedule.
        warmup_steps: Steps over which it first rises linearly; the schedule runs over the rest.
        accumulate: Micro-batches that a step goes through one after another, to need less memory; the step is still
            on the gradient of the whole batch, and the running statistics of BatchNorm change once.
        clip_norm: The largest norm of the gradient that an optimizer is given, over all parameters; None for no limit.
        precision: What forward passes compute in; weights and optimizer stay in float32. ``fp16`` scales the loss.
        channels_last: Whether the weights of 2-D convolutions lie with the channels last in memory while training, as
            convolutions on CPUs are fastest, or as PyTorch makes them. A model with strided 1x1 convolutions of very
            few channels, whose gradients PyTorch gets wrong so, is left as it is.
        compile: Let PyTorch compile the forward and backward passes of the steps. That takes up to minutes for each
            size of a batch, with ``accumulate`` and BatchNorm for each micro-batch, and needs a C++ compiler.
        stop_at_loss: End after the first epoch whose loss on the clean training data is at most this.
        checkpoints_at_loss: Losses on the clean training data at whose first crossing the weights are kept.
        check_loss_every: Steps to which either loss is matched: where an epoch has reached it, the weights are those of
            the step, among every so many, at which it did. Until the epoch ends, their weights are held in memory. None
            for the weights at the end of the epoch.
    """

    optimizer: str = "sgd"
    lr: PositiveFloat = 0.05
    momentum: float | None = None
    optimizer_options: dict[str, Any] = Field(default_factory=dict)
    batch_size: PositiveInt = 64
    epochs: PositiveInt = 30
    schedule: str = "constant"
    schedule_options: dict[str, Any] = Field(default_factory=dict)
    warmup_steps: NonNegativeInt = 0
    accumulate: PositiveInt = 1
    clip_norm: PositiveFloat | None = None
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    stop_at_loss: PositiveFloat | None = None
    checkpoints_at_loss: list[PositiveFloat] = Field(default_factory=list)
    check_loss_every: PositiveInt | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # To Python, True is 1.
        takes_other = isinstance(cls.model_fields[str(info.field_name)].default, str | bool)
        if isinstance(value, bool) and not takes_other:
            raise ValueError(f"training.{info.field_name}: expected a number, got {value!r}")
        return value


class Regime(Strict):
    """How a model is regularized: parts that compose, and the label that names their sum.

    Written ``sam``, ``augmentation+sam``, ``{sam: {rho: 0.1}}``, ``{augmentation: {}, sam: {rho: 0.1}}``, each with
    an optional ``label``.
    """

    label: str
    parts: tuple[Component, ...]

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, Regime | str):
            written: dict[str, Any] = {value: {}} if isinstance(value, str) else {}
        elif isinstance(value, Mapping):
            if "parts" in value:
                return value
            written = {k: v for k, v in value.items() if k != "label"}
        else:
            raise ValueError("a regime is a name, names joined by '+', or a mapping of names to their options")
        if not written:
            if isinstance(value, Regime):
                return value
            raise ValueError("a regime names at least one part, such as baseline")
        parts = [Component(name=n, options=o) for key, opts in written.items() for n, o in _parts(key, opts)]
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"the regime '{'+'.join(names)}' names a part twice")
        label = value.get("label") if isinstance(value, Mapping) else None
        return {"label": "+".join(map(_part_label, parts)) if label is None else label, "parts": tuple(parts)}

    @field_validator("label")
    @classmethod
    def _shows_in_a_table(cls, label: str) -> str:
        if not label.strip() or any(unicodedata.category(character) in _NO_TEXT for character in label):
            raise ValueError(f"the label of a regime is one line of text that can be read, got {label!r}")
        return label

    @model_serializer
    def _to_yaml(self) -> dict[str, Any]:
        return {"label": self.label, **{part.name: dict(part.options) for part in self.parts}}


def _parts(key: Any, options: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    names = [name.strip() for name in str(key).split("+")]
    options = _mapping(key, options)
    if len(names) == 1:
        return [(names[0], dict(options))]
    for name in options:
        if name not in names:
            raise ValueError(f"the options of '{key}' belong to its parts: {{{names[0]}: {{...}}}}, got '{name}'")
    return [(name, dict(_mapping(f"{key}' of its part '{name}", options.get(name)))) for name in names]


def _mapping(regime: str, options: Any) -> Mapping[str, Any]:
    """Return the options of a regime as they were written, none where there are none."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(f"the options of regime '{regime}' must be a mapping such as {{rho: 0.1}}, got {options!r}")
    return options


def _part_label(part: Component) -> str:
    options = ",".join(f"{k}={_plain(v)}" for k, v in part.options.items())
    return f"{part.name}({options})" if options else part.name


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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


@dataclass(frozen=True)
class Point:
    """One point of the grid: a run and where it stands.

    Attributes:
        run: The run.
        coordinates: The value of every key that varies, without regime and seed: ``{"training.lr": 0.1}``. Values that
            make no column of a table, such as lists, are there as text.
    """

    run: Run
    coordinates: dict[str, Any]


class Study(Strict):
    """A grid of runs, and what is measured and compared on them.

    Attributes:
        name: Letters, digits, ``.``, ``_`` and ``-``; its results go to a folder of this name.
        data: What is trained on: a dataset by its name, or a mapping of its name and options.
        model: What is trained: a model by its name, or a mapping of its name and options.
        training: The recipe that all regimes share.
        regimes: How its arms are regularized; they are compared with ``baseline``, or without one with the first.
        grid: What else varies: dotted keys with lists of values. ``seed: n`` stands for the seeds 0 to n - 1.
        measures: What is measured at each minimum: names, or keys with options. Without it, the cheap exact ones.
        measures_subset: How many training samples measures are taken on at most; all when None.
        scores: What is said of the predictions: names, or keys with options. Without it, all that the data allow.
        primary: The few quantities that decide; they are tested as one family.
        sections: What the report has, in this order; what is not named is absent. It changes no run.
        plugins: Python files that register what is the study's own, from the folder of its file.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    data: Component
    model: Component
    training: Training = Training()
    regimes: tuple[Regime, ...] = Field(("baseline",), min_length=1, validate_default=True)
    grid: dict[str, list[Any]] = Field(default_factory=lambda: {"seed": [0]})
    measures: dict[str, dict[str, Any]] | None = None
    measures_subset: PositiveInt | None = None
    scores: dict[str, dict[str, Any]] | None = None
    primary: tuple[str, ...] | None = None
    sections: tuple[str, ...] | None = None
    plugins: tuple[str, ...] = ()

    @field_validator("grid", mode="before")
    @classmethod
    def _grid(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("the grid is a mapping of keys to lists of values, such as {seed: 10}")
        grid = {str(key): (v if isinstance(v, list) else [v]) for key, v in value.items()}
        seeds = value.get("seed", 1)
        if not isinstance(seeds, list):
            if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
                raise ValueError(f"grid.seed is a number of seeds or a list of them, got {seeds!r}")
            if seeds > MOST_RUNS:
                raise ValueError(f"grid.seed asks for {seeds} seeds, and a study has at most {MOST_RUNS} runs")
            seeds = list(range(seeds))
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, int):
                raise ValueError(f"grid.seed must hold whole numbers, got {seed!r}")
        for key, values in (grid := {**grid, "seed": seeds}).items():
            if not values:
                raise ValueError(f"grid.{key} is an empty list: the grid has no run")
            if _repeats(values):
                raise ValueError(f"grid.{key} holds a value twice: {_shortened(values)}")
        return grid

    @field_validator("measures", mode="before")
    @classmethod
    def _measures(cls, value: Any) -> Any:
        return _named("measure", value)

    @field_validator("scores", mode="before")
    @classmethod
    def _scores(cls, value: Any) -> Any:
        return _named("score", value)

    @model_validator(mode="after")
    def _unique_labels(self) -> Study:
        labels = [regime.label for regime in self.regimes]
        for label, times in Counter(labels).items():
            if times > 1:
                raise ValueError(f"the regime '{label}' is listed twice")
        return self

    @model_validator(mode="after")
    def _finite_grid(self) -> Study:
        runs = math.prod(map(len, self.grid.values()), start=len(self.regimes))
        if runs > MOST_RUNS:
            raise ValueError(f"the grid has {runs} runs, and a study has at most {MOST_RUNS}; make it smaller")
        return self

    @property
    def varying(self) -> list[str]:
        """The dotted keys of the grid that take several values, without the seed."""
        return [key for key, values in self.grid.items() if key != "seed" and len(values) > 1]

    def expand(self) -> list[Point]:
        """Return all points of the grid, seed by seed, so that a part of them is a balanced study.

        Raises:
            SpecError: If a key of the grid names nothing, or a value does not fit where it goes.
        """
        keys = [key for key in self.grid if key != "seed"]
        base = self.model_dump(include={"data", "model", "training"})
        for key in keys:
            _check_key(key, base)
        as_texts = {key for key in self.varying if not _is_column(self.grid[key])}
        points = []
        for seed in self.grid["seed"]:
            for values in itertools.product(*(self.grid[key] for key in keys)):
                chosen = dict(zip(keys, values, strict=True))
                at_point = copy.deepcopy(base)
                for key, value in chosen.items():
                    set_dotted(at_point, key, value)
                coordinates = {key: as_text(chosen[key]) if key in as_texts else chosen[key] for key in self.varying}
                for regime in self.regimes:
                    run = validated(Run, {**at_point, "regime": regime, "seed": seed}, chosen)
                    points.append(Point(run, coordinates))
        return points


def _repeats(values: list[Any]) -> bool:
    """Return whether a value stands in a list twice; to Python as to a table, 1 is 1.0."""
    return len({value if isinstance(value, Hashable) else repr(value) for value in values}) < len(values)


def _shortened(value: Any, length: int = 200) -> str:
    """Return a value for a message, which is one line, not a page."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


def _is_column(values: list[Any]) -> bool:
    """Return whether values are of one kind, as a column of a table is; some may be missing."""
    kinds = {
        float if isinstance(value, int | float) and not isinstance(value, bool) else type(value) for value in values
    }
    return len(kinds - {type(None)}) == 1 and not kinds & {list, dict}


def as_text(value: Any) -> str:
    """Return a value as it stands in a study.

    >>> as_text([64, 64]), as_text({"nesterov": True}), as_text(None)
    ('[64, 64]', '{nesterov: true}', 'null')
    """
    import yaml  # only here, since regimes can be had with the library alone

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("...\n").strip()


def set_dotted(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set ``tree["training"]["lr"]`` for the key ``training.lr``; a component given by its name alone is opened."""
    *path, last = key.split(".")
    for step in path:
        inner = tree.get(step)
        if isinstance(inner, str):
            inner = {"name": inner}
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise SpecError(f"'{key}' leads into {step}, which is {inner!r} and has no parts", (key,))
        tree[step] = inner
        tree = inner
    tree[last] = value


def validated(kind: type[Strict], tree: Any, chosen: Mapping[str, Any] | None = None) -> Any:
    """Return ``tree`` as ``kind``; the first error as a sentence with its place.

    Raises:
        SpecError: With ``loc`` at the value, or at the key of the grid that gave it.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        # What is missing may be there under a name that is not known.
        first = min(error.errors(), key=lambda found: found["type"] == "missing")
        loc = first["loc"]
        dotted = ".".join(map(str, loc))
        if chosen and dotted in chosen:
            loc = ("grid", dotted)
        raise SpecError(_sentence(kind, first, dotted), loc) from None


_A_NAME = "expected letters, digits, '.', '_' and '-', of which the first is a letter or digit"


def _sentence(kind: type[Strict], error: Any, dotted: str) -> str:
    if error["type"] == "extra_forbidden":
        *path, key = error["loc"]
        for step in path:
            kind = kind.model_fields[str(step)].annotation  # type: ignore[assignment]
        place = f" in {'.'.join(map(str, path))}" if path else ""
        known = [*kind.model_fields, EXTENDS] if kind is Study else kind.model_fields
        return f"unknown key '{key}'{place}{suggest(str(key), known)}"
    if error["type"] == "missing":
        return f"the key '{dotted}' is missing; a study needs name, data and model"
    expected = _A_NAME if error["type"] == "string_pattern_mismatch" else expectation(error)
    if error["type"] == "value_error":
        return expected
    got = error["input"]
    hint = ""
    if isinstance(got, list) and "." in dotted:
        hint = f"; to try several values, write them in the grid: grid: {{{dotted}: {_shortened(got)}}}"
    if error["type"] in A_LIST and isinstance(got, str):
        hint = f"; write [{got}]"
    if error["type"] == "string_type" and isinstance(got, bool | int | float):
        hint = "; put it in quotes"
    # The place has the line, so that the number of an item, which a reader would have to count, says nothing more.
    name = ".".join(part for part in error["loc"] if isinstance(part, str))
    return f"{name}: {expected}, got {_shortened(got)}{hint}"


def _named(kind: str, value: Any) -> Any:
    """Bring a list of names, or a mapping of keys to options, into ``{key: {kind: name, **options}}``."""
    if value is None:
        return None
    if isinstance(value, list):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"a list of {kind}s holds names; with options write a mapping, got {name!r}")
        value = dict.fromkeys(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"{kind}s are a list of names or a mapping of names to options, got {value!r}")
    named = {}
    for key, options in value.items():
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"the options of {kind} '{key}' are a mapping, got {options!r}")
        named[str(key)] = {kind: str(key), **(options or {})}
    return named


def _check_key(key: str, base: Mapping[str, Any]) -> None:
    section, _, rest = key.partition(".")
    if section not in base or not rest:
        known = [f"{s}.…" for s in base] + ["seed"]
        raise SpecError(f"the grid key '{key}' names nothing that varies{suggest(key, known)}", ("grid", key))
    if section == "training" and rest.partition(".")[0] not in Training.model_fields:
        hint = suggest(rest, Training.model_fields)
        raise SpecError(f"unknown key '{rest}' in training{hint}", ("grid", key))

"""Classifiers of transformers, as a user of that library has them: mappings with masks in, ``.logits`` out."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import nn

from sharpscope import measure
from sharpscope.curvature.measure import MEASURES
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.errors import NotDefined
from tests.oracle import CLOSED_FORMS, closed_forms
from tests.variants import SMALL

pytest.importorskip("transformers", reason="the extra transformers is not installed")

CLASSES, POSITIONS, SYMBOLS = 3, 6, 11
SIZES = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
GPT2 = {"n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
KINDS = {
    "gpt2": ("GPT2", {**GPT2, "attn_implementation": "sdpa"}),
    "gpt2_eager": ("GPT2", {**GPT2, "attn_implementation": "eager"}),
    "bert": ("Bert", SIZES),
    "llama": ("Llama", {**SIZES, "num_key_value_heads": 1}),
    "vit": ("ViT", {**SIZES, "image_size": 8, "patch_size": 4, "num_channels": 1}),
}
SECOND_ORDER = ["hessian_trace", "hessian_top_eigenvalue", "ggn_trace", "sam_sharpness", "worst_case_sharpness"]
DEFAULT = [name for name in MEASURES if MEASURES[name].facts.default]
OF_INPUTS = {"boundary_distance", "geometric_complexity", "input_jacobian_norm"}

every_kind = pytest.mark.parametrize("kind", list(KINDS))


def data(kind: str) -> list[dict[str, torch.Tensor]]:
    """Return twelve samples in unequal batches, sequences of several lengths padded to one."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(12) % CLASSES
    if kind == "vit":
        columns = {"pixel_values": torch.randn(12, 1, 8, 8, generator=generator)}
    else:
        ids = torch.randint(1, SYMBOLS, (12, POSITIONS), generator=generator)
        lengths = torch.randint(2, POSITIONS + 1, (12, 1), generator=generator)
        mask = (torch.arange(POSITIONS) < lengths).long()
        columns = {"input_ids": ids * mask, "attention_mask": mask}
    splits = {name: column.split([3, 4, 5]) for name, column in {**columns, "labels": labels}.items()}
    return [dict(zip(splits, parts, strict=True)) for parts in zip(*splits.values(), strict=True)]


@cache
def trained(kind: str) -> nn.Module:
    """Return a small classifier after a few steps of training, in train mode."""
    import transformers

    name, sizes = KINDS[kind]
    symbols = {} if kind == "vit" else {"vocab_size": SYMBOLS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, f"{name}Config")(**sizes, **symbols, num_labels=CLASSES)
    task = "ForImageClassification" if kind == "vit" else "ForSequenceClassification"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, name + task)(config).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            for batch in data(kind):
                optimizer.zero_grad()
                model(**batch).loss.backward()
                optimizer.step()
    return model


def in_double(kind: str) -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    model = type(trained(kind))(trained(kind).config).double()  # type: ignore[operator]
    model.load_state_dict(trained(kind).state_dict())
    return model, [{k: t.double() if t.is_floating_point() else t for k, t in b.items()} for b in data(kind)]


@every_kind
def test_closed_forms_are_those_of_the_definitions(kind: str) -> None:
    model, batches = in_double(kind)
    found = measure(model, batches, CLOSED_FORMS)
    (head,) = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == CLASSES]
    # The norms of Llama work in single precision, whatever the model's is.
    rtol = 1e-6 if kind == "llama" else 1e-9
    for name, value in closed_forms(Risk(model, Batches(batches)), head).items():
        assert found[name].value == pytest.approx(value, rel=rtol)


@every_kind
def test_default_and_second_order_measures_have_values(kind: str) -> None:
    asked = {name: small(name) for name in [*DEFAULT, *SECOND_ORDER]}
    found = measure(trained(kind), data(kind), asked)
    assert list(found) == list(asked)
    assert all(math.isfinite(e.value) and math.isfinite(e.stderr) and e.converged for e in found.values())


def small(name: str) -> dict[str, int]:
    return {k: v for k, v in SMALL.items() if MEASURES[name].defaults.get(k, 0) > v}


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "distance_from_init"])
def test_every_measure_of_a_gpt2_agrees_in_double_precision(name: str) -> None:
    model, batches = in_double("gpt2")
    options = {name: small(name)}
    if name in OF_INPUTS:
        with pytest.raises(NotDefined, match="token ids"):
            measure(model, batches, options)
        return
    found, expected = measure(trained("gpt2"), data("gpt2"), options)[name], measure(model, batches, options)[name]
    assert math.isfinite(found.value)
    error = 5 * math.hypot(found.stderr, expected.stderr)
    assert found.value == pytest.approx(expected.value, rel=1e-4, abs=error)


@pytest.mark.parametrize("name", sorted(OF_INPUTS))
def test_measures_of_inputs_take_embeddings(name: str) -> None:
    model, batches = in_double("gpt2")
    embed = model.get_input_embeddings()  # type: ignore[operator]
    # The whole sequences: a mask of places without a symbol goes with symbols alone.
    embedded = [{"inputs_embeds": embed(b["input_ids"]).detach(), "labels": b["labels"]} for b in batches]
    found = measure(model, embedded, [name])[name]
    assert math.isfinite(found.value)
    assert found.value > 0


def test_what_is_padded_does_not_matter() -> None:
    model, batches = in_double("gpt2")
    cut = []
    for batch in batches:
        for i in range(len(batch["labels"])):
            length = int(batch["attention_mask"][i].sum())
            one = {key: t[i : i + 1, :length] for key, t in batch.items() if key != "labels"}
            cut.append({**one, "labels": batch["labels"][i : i + 1]})
    padded, unpadded = measure(model, batches, DEFAULT), measure(model, cut, DEFAULT)
    for name in DEFAULT:
        assert padded[name].value == pytest.approx(unpadded[name].value, rel=1e-9)

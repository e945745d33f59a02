"""What every registered condition must do, and what every corruption: a condition of inputs."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from sharpscope.condition import KINDS
from sharpscope.data import CONDITIONS, ConditionFacts, corrupt
from sharpscope.seeding import Stream

STREAM = Stream("conformance")
SHAPES = [(1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 7, 12)]


def images(shape, n=60):
    """Strokes and blobs: of the size of a third of the image, bright on black, not aligned to any grid."""
    channels, height, width = shape
    size = min(height, width) // 3 // 2 * 2 + 1
    noise = torch.randn(n, channels, height, width, generator=torch.Generator().manual_seed(0))
    smooth = functional.avg_pool2d(noise, size, stride=1, padding=size // 2)
    return (140 * smooth / smooth.std()).clamp(0, 255).to(torch.uint8)


@pytest.fixture(params=list(CONDITIONS))
def entry(request):
    return CONDITIONS[request.param]


@pytest.fixture(params=[name for name, entry in CONDITIONS.items() if entry.facts.kind == "inputs"])
def name(request):
    return request.param


def test_declares_itself(entry):
    facts = entry.facts
    assert isinstance(facts, ConditionFacts)
    assert facts.kind in KINDS
    assert facts.label
    assert facts.severities
    assert len(set(facts.severities)) == len(facts.severities)
    assert all(isinstance(severity, int) for severity in facts.severities)
    assert facts.reference
    assert entry.summary
    # A study has no place for options of conditions.
    assert not entry.complete({}).keys() - entry.defaults.keys()


def test_a_corruption_is_of_a_family(name):
    assert CONDITIONS[name].facts.family in {"noise", "blur", "weather", "digital"}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_keeps_shape_dtype_and_its_input(name, shape):
    clean = images(shape)
    before = clean.clone()
    for severity in CONDITIONS[name].facts.severities:
        damaged = corrupt(clean, name, severity, STREAM)
        assert (damaged.shape, damaged.dtype) == (clean.shape, torch.uint8)
    assert clean.equal(before)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_grows_with_severity(name, shape):
    facts = CONDITIONS[name].facts
    clean = images((3, *shape[1:]) if facts.colored else shape)
    damaged = [corrupt(clean, name, severity, STREAM) for severity in facts.severities]
    distances = [float((images.float() - clean.float()).abs().mean()) for images in damaged]
    assert distances[0] > 0
    assert distances == sorted(set(distances))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_does_not_depend_on_how_the_set_is_cut(name, shape):
    clean = images(shape)
    whole = corrupt(clean, name, 4, STREAM)
    cuts = [0, 1, 14, 47, 60]
    parts = [corrupt(clean[start:end], name, 4, STREAM, first=start) for start, end in pairwise(cuts)]
    assert torch.cat(parts).equal(whole)


def test_is_seeded_and_leaves_the_global_random_state(name):
    clean = images((1, 8, 8))
    first = corrupt(clean, name, 3, STREAM)
    torch.manual_seed(12345)
    state = torch.get_rng_state()
    assert corrupt(clean, name, 3, STREAM).equal(first)
    assert torch.get_rng_state().equal(state)

"""Which corruptions a regime trains on the like of."""

from sharpscope.data import CONDITIONS
from sharpscope.training import REGIMES, corruptions_like


def test_what_regimes_are_like_are_corruptions():
    for name, entry in REGIMES.items():
        like = corruptions_like([name])
        assert like == sorted(like)
        assert all(CONDITIONS[corruption].facts.kind == "inputs" for corruption in like)
        assert like == [] or entry.facts.like


def test_a_combination_is_like_what_its_parts_are_like():
    assert corruptions_like(["baseline", "sam"]) == []
    assert corruptions_like(["cutout", "augmentation", "cutout"]) == ["elastic_transform", "spatter"]
    assert set(corruptions_like(["rand_augment"])) > {"brightness", "contrast"}

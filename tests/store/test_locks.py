"""A lock keeps others out as long as it is held, and those who only look disturb nobody."""

from __future__ import annotations

from sharpscope.store.locks import is_held, locked, presence


def test_a_lock_keeps_others_out_until_its_block_ends(tmp_path):
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock") as second:
        assert first
        assert not second
    with locked(tmp_path / "lock") as third:
        assert third


def test_only_the_first_of_several_is_alone(tmp_path):
    alone = []
    with (
        presence(tmp_path / "lock", lambda: alone.append(1)),
        presence(tmp_path / "lock", lambda: alone.append(2)),
    ):
        pass
    assert alone == [1]


def test_to_look_whether_a_lock_is_held_makes_no_file_and_disturbs_nobody(tmp_path):
    path = tmp_path / "lock"
    assert not is_held(path)
    assert not path.exists()
    with locked(path) as held:
        assert held
        assert is_held(path)
    assert not is_held(path)

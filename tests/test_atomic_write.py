"""A file is there whole, or it is what it was."""

import os
import stat

import pytest

from facegen.atomic_write import atomic_path, atomic_write


def test_a_new_file_is_its_owner_s_and_makes_its_folder(tmp_path):
    target = tmp_path / "new" / "file.bin"
    atomic_write(target, b"all of it")
    assert target.read_bytes() == b"all of it" and [*target.parent.iterdir()] == [target]
    if os.name == "posix":
        assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="Windows has other rights")
def test_a_mode_may_be_given(tmp_path):
    atomic_write(tmp_path / "file", b"", mode=0o644)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()], ids=["OSError", "KeyboardInterrupt"])
def test_what_was_there_stays_when_writing_is_stopped(tmp_path, error):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_path(target) as part:
        part.write_bytes(b"ne")
        raise error
    assert target.read_bytes() == b"old" and [*tmp_path.iterdir()] == [target]


def test_nobody_sees_half_a_file(tmp_path):
    target = tmp_path / "file"
    with atomic_path(target) as part:
        part.write_bytes(b"half")
        assert not target.exists() and part.parent == target.parent
    assert target.read_bytes() == b"half"

"""A file is there whole, or it is what it was."""

import os
import stat

import pytest

from facegen.atomic_write import USUAL, atomic_path, atomic_write


def test_a_new_file_is_its_owner_s_and_makes_its_folder(tmp_path):
    target = tmp_path / "new" / "file.bin"
    atomic_write(target, b"all of it")
    assert target.read_bytes() == b"all of it" and [*target.parent.iterdir()] == [target]
    if os.name == "posix":
        assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="Windows has other rights")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_usual_file_is_as_private_as_the_user_s_others(tmp_path, umask):
    before = os.umask(umask)
    try:
        atomic_write(tmp_path / "file", b"", USUAL)
        (tmp_path / "other").write_bytes(b"")
        atomic_write(tmp_path / "own", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o600


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

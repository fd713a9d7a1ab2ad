"""What the commands share: imports of libraries that may not be there."""

import gc

import pytest

from facegen.errors import FaceGenError
from facegen.standalone.cli.common import libraries


@pytest.mark.parametrize("collects", [True, False])
def test_imports_are_not_searched_for_garbage(collects):
    try:
        (gc.enable if collects else gc.disable)()
        with libraries():
            assert not gc.isenabled()
        assert gc.isenabled() == collects
    finally:
        gc.unfreeze()
        gc.enable()


def test_garbage_is_collected_again_after_a_failed_import():
    try:
        with pytest.raises(FaceGenError, match="no_such_library.*pip install -r requirements.txt"), libraries():
            import no_such_library  # noqa: F401
        assert gc.isenabled()
    finally:
        gc.unfreeze()

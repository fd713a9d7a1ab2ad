"""Model files that only some of these tests need."""

import pytest

from sdxl_files import sdxl_checkpoint, sdxl_faceid, sdxl_instantid, sdxl_pulid


@pytest.fixture(scope="module")
def sdxl(base_directory):
    """Files of the SDXL family; half a gigabyte, gone after these tests."""
    models = base_directory / "models"
    files = [
        sdxl_checkpoint(models / "checkpoints" / "sdxl.ckpt"),
        sdxl_faceid(models / "ipadapter" / "ip-adapter-faceid-plusv2_sdxl.bin"),
        *sdxl_instantid(models),
        *sdxl_pulid(models),
    ]
    yield
    for file in files:
        file.unlink()

"""A models folder with files for every method on every base, in the published formats and small."""

from pathlib import Path

from faceid_files import faceid_state, save
from flux_folder import LAYERS, WIDTH, save_flux_folder
from pulid_files import flux_state
from pulid_files import save as save_state
from small_checkpoints import BLOCKS, CONTEXT, TOWER, save_folder, save_sdxl_models, save_single


def save_all_models(folder: Path, scratch: Path) -> Path:
    """In `folder`; `scratch` is an empty folder."""
    for name in ("sdxl", "sd15"):
        (scratch / name).mkdir()
    save_sdxl_models(folder, scratch / "sdxl")
    save_single(save_folder("SD1.5", scratch / "sd15" / "folder"), folder / "checkpoints" / "small sd15.safetensors")
    state = faceid_state(BLOCKS["SD1.5"], CONTEXT["SD1.5"], clip_dim=64, depth=1)
    save(state, folder / "ipadapter" / "ip-adapter-faceid-plusv2_sd15.bin")
    save_flux_folder(folder / "checkpoints" / "small flux")
    save_state(flux_state(LAYERS, WIDTH, depth=5, states=TOWER), folder / "pulid" / "pulid_flux_v0.9.1.safetensors")
    return folder

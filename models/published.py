"""The published model files that the pack reads: where from, into which folder, how large, under which licence, and what
their bytes hash to. A size or digest stands here only where it is published. Face model packs have a catalogue of their own.
"""

import os
import re
from dataclasses import dataclass

from ..errors import FaceGenError

HUGGING_FACE = "https://huggingface.co"
MIRROR_VARIABLE = "HF_ENDPOINT"  # as Hugging Face's own library has it: the address of a mirror
FACEID_SOURCE = f"{HUGGING_FACE}/h94/IP-Adapter-FaceID"
INSTANTID_SOURCE = f"{HUGGING_FACE}/InstantX/InstantID"
RESEARCH = "non-commercial research only"


@dataclass(frozen=True)
class Download:
    """One file to fetch: an archive that is unpacked, or a model file as it is. size in bytes; None: not known.

    save_as: its name here, where that isn't the last part of the address.
    """

    url: str
    size: int | None = None
    sha256: str | None = None
    save_as: str = ""

    @property
    def name(self) -> str:
        """Of the file."""
        return self.save_as or self.url.rsplit("/", 1)[-1]

    @property
    def address(self) -> str:
        """The url or, where MIRROR_VARIABLE names a mirror of Hugging Face, the same file there. Raises FaceGenError where it
        names none."""
        mirror = os.environ.get(MIRROR_VARIABLE, "").strip().rstrip("/")
        if not mirror or not self.url.startswith(f"{HUGGING_FACE}/"):
            return self.url
        if not re.match(r"https?://[^/]", mirror, re.IGNORECASE):
            raise FaceGenError(
                f"{MIRROR_VARIABLE} is {mirror!r}, and the address of a mirror begins with https://. Correct it or unset it."
            )
        return mirror + self.url.removeprefix(HUGGING_FACE)


@dataclass(frozen=True)
class PublishedFile:
    """A model file: `name` is what it is asked for by, `folder` the folder of ComfyUI's `models` that it belongs in."""

    name: str
    folder: str
    licence: str
    download: Download
    note: str

    @property
    def file(self) -> str:
        """Its name in the folder."""
        return self.download.name

    def size_and_licence(self) -> str:
        """ "157 MB; licence: …"."""
        size = "" if self.download.size is None else f"{megabytes(self.download.size)}; "
        return f"{size}licence: {self.licence}"

    def in_words(self) -> str:
        """ "NAME.bin (157 MB; licence: …; source: https://…)"."""
        return f"{self.file} ({self.size_and_licence()}; source: {self.download.url})"


def megabytes(size: int) -> str:
    """Bytes in words, such as 17 MB."""
    return f"{size / 1e6:.0f} MB"


def _faceid(name: str, size: int | None, sha256: str, note: str) -> PublishedFile:
    download = Download(f"{FACEID_SOURCE}/resolve/main/ip-adapter-{name}.bin", size, sha256)
    return PublishedFile(name, "ipadapter", RESEARCH, download, note)


PULID_SOURCE = f"{HUGGING_FACE}/guozinan/PuLID"


def _pulid(file: str, size: int | None, note: str) -> PublishedFile:
    download = Download(f"{PULID_SOURCE}/resolve/main/{file}", size)
    return PublishedFile(file.rpartition(".")[0].replace("_", "-"), "pulid", "Apache-2.0", download, note)


PULID_SDXL, PULID_FLUX, EVA_CLIP, FACE_PARSING = "pulid-v1.1", "pulid-flux-v0.9.1", "eva02-clip-l-336", "face-parsing"
FACEID_SD15, FACEID_SDXL, CLIP_VIT_H, CHECKPOINT = "faceid-plusv2_sd15", "faceid-plusv2_sdxl", "clip-vit-h", "dreamshaper-8"
INSTANTID, INSTANTID_CONTROLNET, CHECKPOINT_SDXL = "instantid", "instantid-controlnet", "sdxl-base"
FACE_PACK = "buffalo_l"  # the published FaceID adapters know its recogniser's embeddings
FACE_PACK_OF_INSTANTID = "antelopev2"  # and of PuLID
FILES = (
    _faceid(
        FACEID_SD15,
        156_558_509,
        "26d0d86a1d60d6cc811d3b8862178b461e1eeb651e6fe2b72ba17aa95411e313",
        "FaceID PlusV2 for SD1.5: identity and structure of the face",
    ),
    _faceid(
        FACEID_SDXL,
        1_487_555_181,
        "c6945d82b543700cc3ccbb98d363b837e9c596281607857c74b713a876daf5fb",
        "FaceID PlusV2 for SDXL",
    ),
    _faceid(
        "faceid_sd15",
        96_740_574,
        "201344e22e6f55849cf07ca7a6e53d8c3b001327c66cb9710d69fd5da48a8da7",
        "FaceID for SD1.5, without CLIP vision",
    ),
    _faceid(
        "faceid_sdxl",
        None,
        "f455fed24e207c878ec1e0466b34a969d37bab857c5faa4e8d259a0b4ff63d7e",
        "FaceID for SDXL, without CLIP vision",
    ),
    _faceid(
        "faceid-plus_sd15",
        None,
        "252fb53e0d018489d9e7f9b9e2001a52ff700e491894011ada7cfb471e0fadf2",
        "FaceID Plus for SD1.5, the first version",
    ),
    _faceid(
        "faceid-portrait-v11_sd15",
        64_586_623,
        "a48cb4f89ed18e02c6000f65aa9efec452e87eaed4a1bc9fcf4a460c8d0e3bc6",
        "portrait for SD1.5: for several photos, without LoRA",
    ),
    _faceid(
        "faceid-portrait_sdxl",
        749_822_515,
        "5631ce7824cdafd2db37c5e85b985730a95ff59c5b4fc80c2b79b0bee5711512",
        "portrait for SDXL: for several photos, without LoRA",
    ),
    _faceid(
        "faceid-portrait_sdxl_unnorm",
        1_009_523_411,
        "220bb86e205393a3d0411631cb473caddbf35fd371be2905ca9008818170db55",
        "portrait for SDXL that reads the raw embedding",
    ),
    PublishedFile(
        INSTANTID,
        "instantid",
        "Apache-2.0",
        Download(
            f"{INSTANTID_SOURCE}/resolve/main/ip-adapter.bin",
            1_691_134_141,
            "02b3618e36d803784166660520098089a81388e61a93ef8002aa79a5b1c546e1",
        ),
        "InstantID for SDXL; needs its ControlNet and the model pack antelopev2",
    ),
    PublishedFile(
        INSTANTID_CONTROLNET,
        "controlnet",
        "Apache-2.0",
        Download(
            f"{INSTANTID_SOURCE}/resolve/main/ControlNetModel/diffusion_pytorch_model.safetensors",
            2_502_139_136,
            "c8127be9f174101ebdafee9964d856b49b634435cf6daa396d3f593cf0bbbb05",
            "instantid-controlnet.safetensors",
        ),
        "InstantID's ControlNet, which reads the face's five points",
    ),
    PublishedFile(
        CLIP_VIT_H,
        "clip_vision",
        "Apache-2.0",
        Download(
            f"{HUGGING_FACE}/h94/IP-Adapter/resolve/main/models/image_encoder/model.safetensors",
            2_528_373_448,
            "6ca9667da1ca9e0b0f75e46bb030f7e011f44f86cbfb8d5a36590fcd7507b030",
            "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
        ),
        "the CLIP vision model that FaceID Plus and PlusV2 read",
    ),
    PublishedFile(
        CHECKPOINT,
        "checkpoints",
        "CreativeML OpenRAIL-M",
        Download(
            f"{HUGGING_FACE}/Lykon/DreamShaper/resolve/main/DreamShaper_8_pruned.safetensors",
            2_132_625_894,
            "879db523c30d3b9017143d56705015e15a2cb5628762c11d086fed9538abd7fd",
        ),
        "an SD1.5 checkpoint, the one of the templates; any other does as well",
    ),
    PublishedFile(
        CHECKPOINT_SDXL,
        "checkpoints",
        "CreativeML OpenRAIL++-M",
        Download(
            f"{HUGGING_FACE}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
            6_938_078_334,
            "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b",
        ),
        "SDXL as Stability published it; any other SDXL checkpoint does as well",
    ),
    _pulid("pulid_v1.1.safetensors", 984_405_232, "PuLID for SDXL"),
    _pulid("pulid_v1.bin", None, "PuLID for SDXL, the first version"),
    _pulid("pulid_flux_v0.9.1.safetensors", None, "PuLID for FLUX.1"),
    _pulid("pulid_flux_v0.9.0.safetensors", None, "PuLID for FLUX.1, the version before"),
    PublishedFile(
        EVA_CLIP,
        "clip_vision",
        "MIT, as EVA's code; none is stated with the file",
        Download(f"{HUGGING_FACE}/QuanSun/EVA-CLIP/resolve/main/EVA02_CLIP_L_336_psz14_s6B.pt", 856_461_210),
        "the vision tower that PuLID reads",
    ),
    PublishedFile(
        FACE_PARSING,
        "facexlib",
        "MIT; trained on CelebAMask-HQ, which is for non-commercial research",
        Download(
            "https://github.com/xinntao/facexlib/releases/download/v0.2.0/parsing_bisenet.pth",
            53_289_463,
            "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        ),
        "the network that tells the parts of a face apart, for PuLID",
    ),
)
PUBLISHED = {file.name: file for file in FILES}
# Kind -> what to get of it: all that a first portrait needs.
STARTER = {"face_pack": FACE_PACK, "clip_vision": CLIP_VIT_H, "faceid": FACEID_SD15, "checkpoint": CHECKPOINT}
STARTER_OF_INSTANTID = {
    "face_pack": FACE_PACK_OF_INSTANTID,
    "instantid": INSTANTID,
    "controlnet": INSTANTID_CONTROLNET,
    "checkpoint": CHECKPOINT_SDXL,
}
STARTER_OF_PULID = {
    "face_pack": FACE_PACK_OF_INSTANTID,
    "pulid": PULID_SDXL,
    "vision_tower": EVA_CLIP,
    "face_parsing": FACE_PARSING,
    "checkpoint": CHECKPOINT_SDXL,
}
STARTER_OF_FACEID_SDXL = STARTER | {"faceid": FACEID_SDXL, "checkpoint": CHECKPOINT_SDXL}
# FLUX.1 itself is a folder, which isn't fetched.
STARTER_OF_PULID_FLUX = {
    kind: PULID_FLUX if kind == "pulid" else n for kind, n in STARTER_OF_PULID.items() if kind != "checkpoint"
}
STARTERS = {"faceid": STARTER, "instantid": STARTER_OF_INSTANTID, "pulid": STARTER_OF_PULID}


def find_published(asked: str) -> PublishedFile | None:
    """By its name here or its file's, with or without the ending, in any case."""
    for file in PUBLISHED.values():
        if asked.lower() in (file.name, file.file.lower(), file.file.lower().rpartition(".")[0]):
            return file
    return None

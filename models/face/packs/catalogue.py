"""The face model packs that can be had: where from, how large, under which licence, and what their bytes hash to.

Sizes and SHA-256 are those of the files that the releases offer; a digest stands here only where it is published.
"""

from dataclasses import dataclass

from ...published import Download, megabytes

ZOO = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
AURAFACE = "https://huggingface.co/fal/AuraFace-v1/resolve/main"
RESEARCH = "non-commercial research only (InsightFace)"


@dataclass(frozen=True)
class CataloguedPack:
    """models: the two files that are used, with their sizes in bytes where known."""

    name: str
    licence: str
    models: tuple[tuple[str, int | None], ...]
    downloads: tuple[Download, ...]
    note: str = ""

    @property
    def source(self) -> str:
        """The addresses that it is fetched from, in words."""
        return " and ".join(download.url for download in self.downloads)

    def size_and_licence(self) -> str:
        """Of what is downloaded: "289 MB; licence: …"."""
        sizes = [download.size for download in self.downloads if download.size is not None]
        size = f"{megabytes(sum(sizes))}; " if len(sizes) == len(self.downloads) else ""
        return f"{size}licence: {self.licence}"

    def files_in_words(self) -> str:
        """ "det_10g.onnx (17 MB) and w600k_r50.onnx (174 MB)"."""
        return " and ".join(name if size is None else f"{name} ({megabytes(size)})" for name, size in self.models)


def _zoo(
    name: str, size: int | None, sha256: str | None, models: tuple[tuple[str, int | None], ...], note: str = ""
) -> CataloguedPack:
    return CataloguedPack(name, RESEARCH, models, (Download(f"{ZOO}/{name}.zip", size, sha256),), note)


DET_10G, W600K_R50, W600K_MBF = 16_923_827, 174_383_860, 13_616_099
PACKS = (
    _zoo(
        "buffalo_l",
        288_621_354,
        "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
        (("det_10g.onnx", DET_10G), ("w600k_r50.onnx", W600K_R50)),
        "the pack that FaceID was trained with",
    ),
    _zoo(
        "buffalo_m",
        275_951_529,
        "d98264bd8f2dc75cbc2ddce2a14e636e02bb857b3051c234b737bf3b614edca9",
        (("det_2.5g.onnx", None), ("w600k_r50.onnx", W600K_R50)),
        "buffalo_l's recogniser, a lighter detector",
    ),
    _zoo(
        "buffalo_sc",
        14_969_382,
        "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
        (("det_500m.onnx", 2_524_817), ("w600k_mbf.onnx", W600K_MBF)),
        "small; its embeddings don't fit FaceID",
    ),
    _zoo(
        "antelopev2",
        360_662_982,
        "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
        (("scrfd_10g_bnkps.onnx", DET_10G), ("glintr100.onnx", 260_665_334)),
        "the pack that InstantID and PuLID were trained with; its embeddings don't fit FaceID",
    ),
    _zoo(
        "raccoon_l",
        None,
        "70cd4f2f1de0a89dd0983bdac55a066a6178543f86e9ec87154f6f259bdded7e",
        (("det_10g_wo.onnx", None), ("w600k_r50.onnx", W600K_R50)),
        "InsightFace 2's package, buffalo_l's recogniser",
    ),
    _zoo(
        "raccoon_s",
        None,
        "f67a624ef8a4495899eb4359a8a6953f7b4c62a8399c5bc745c0e0f6582f898d",
        (("det_10g_wo.onnx", None), ("w600k_mbf.onnx", W600K_MBF)),
        "InsightFace 2's small package; doesn't fit FaceID",
    ),
    CataloguedPack(
        "auraface",
        "Apache-2.0, commercial use allowed (fal)",
        (("scrfd_10g_bnkps.onnx", DET_10G), ("glintr100.onnx", 260_694_151)),
        (
            Download(
                f"{AURAFACE}/scrfd_10g_bnkps.onnx",
                DET_10G,
                "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
            ),
            Download(
                f"{AURAFACE}/glintr100.onnx",
                260_694_151,
                "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
            ),
        ),
        "its embeddings fit none of the methods; for comparing faces",
    ),
)
CATALOGUE = {pack.name: pack for pack in PACKS}


def recogniser_name(file: str, size: int | None) -> str:
    """What a recogniser is called: its file without the ending, as InsightFace does. AuraFace's file has the name of
    antelopev2's and another network in it: it is known by the published size, in bytes, and called after its pack."""
    name = file.removesuffix(".onnx")
    return f"{name}-auraface" if (file, size) == CATALOGUE["auraface"].models[1] else name


RECOGNISERS = frozenset(recogniser_name(*pack.models[1]) for pack in PACKS)

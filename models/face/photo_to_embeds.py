"""Photos to FaceEmbeds: find, choose, judge and embed, with a report of what was done."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import NoFaceError
from ..pictures import Watch, require_rgb, unwatched, watched
from .analysis import Face, FaceAnalysis, Found, aligned_crop, from_left, select_faces, to_bgr
from .annotate import annotate, as_batch
from .combine import outliers
from .embeds import NOBODY, FaceEmbeds
from .mask import face_mask
from .quality import portrait_quality
from .recognisers import recogniser
from .structure.crop import ffhq_crop
from .structure.look import Look
from .tries import TURNS

log = logging.getLogger(__name__)
# Crops [n, 224, 224, 3] -> CLIP vision states [n, 257, width] and those of an all-zero normalised picture [1, 257, width]
Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class EmbeddedPhotos:
    """face_embeds; crops RGB [n, 224, 224, 3], one per face; annotated: the photos, enlarged where small [B, h, w, 3]; report:
    plain values; mask [B, H, W] (0-1): where the chosen faces are; structure_crops RGB [n, 512, 512, 3]: what the vision tower
    was shown, one per face."""

    face_embeds: FaceEmbeds
    crops: Tensor
    annotated: Tensor
    report: dict[str, Any]
    mask: Tensor
    structure_crops: Tensor | None = None

    @property
    def warnings(self) -> list[str]:
        """What the user should know, a sentence or two each; also in the report."""
        said: list[str] = self.report["warnings"]
        return said


@dataclass
class _Photo:
    number: int
    name: str
    bgr: np.ndarray
    found: Found
    chosen: list[Face]
    identities: Tensor | None
    annotated: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.bgr.shape[1], self.bgr.shape[0]


def embed_photos(
    face_analysis: FaceAnalysis,
    images: Tensor,
    encode: Encode | None = None,
    look: Look | None = None,
    *,
    select: str = "largest",
    face_index: int = 0,
    combine: str = "average",
    skip: bool = False,
    names: Sequence[str] = (),
    watch: Watch = unwatched,
) -> EmbeddedPhotos:
    """The chosen faces of RGB photos [B, H, W, 3] (0-1) as embeddings.

    With `skip`, a photo without a face is left out; where each image has its own face (combine "one per image"), its place
    is kept for nobody. `encode` is called once, with all crops; `look` once for each face. Warnings call the photos by their
    `names`, or by number. Raises BadPicturesError on other pictures, NoFaceError when there is no face, FaceGenError when there
    is not the one asked for.
    """
    require_rgb(images)
    names = names or [f"picture {number}" for number in range(len(images))]
    photos = [
        _look(face_analysis, picture, number, names[number], select, face_index) for number, picture in watched(images, watch)
    ]
    missing = [photo for photo in photos if not photo.chosen]
    if missing and not skip:
        raise face_analysis.no_face(*missing[0].bgr.shape[:2])
    used = [photo for photo in photos if photo.chosen]
    if not used:
        raise NoFaceError(f"No face in any of the {len(images)} pictures: all were skipped, so there is nobody to embed.")
    crops = torch.stack([aligned_crop(photo.bgr, face) for photo in used for face in photo.chosen])
    identities = torch.cat([photo.identities for photo in used if photo.identities is not None])
    hidden, zero = (None, None) if encode is None else encode(crops)
    metadata = tuple(face.metadata(face_analysis, photo.size) for photo in used for face in photo.chosen)
    face_embeds = FaceEmbeds(identities, hidden, zero, metadata)
    owners = [photo.number for photo in used for _ in photo.chosen]
    report = _report(face_analysis, photos, face_embeds, owners, combine, select)
    face_embeds, structure_crops = _seen(look, used, face_embeds, combine, watch)
    if combine == "one per image" and missing:
        face_embeds = _with_places(face_embeds, [len(photo.chosen) for photo in photos])
    for warning in report["warnings"]:
        log.warning("FaceGen: %s", warning)
    mask = torch.stack([face_mask(photo.chosen, *photo.bgr.shape[:2]) for photo in photos])
    annotated = as_batch([photo.annotated for photo in photos])
    return EmbeddedPhotos(face_embeds, crops, annotated, report, mask, structure_crops)


def _look(face_analysis: FaceAnalysis, picture: Tensor, number: int, name: str, select: str, face_index: int) -> _Photo:
    height, width = picture.shape[:2]
    bgr = to_bgr(picture)
    found = face_analysis.find(bgr)
    faces = list(found.faces)
    chosen = select_faces(faces, select, height, width, face_index) if faces else []
    # At once, while ONNX Runtime's threads are awake.
    identities = face_analysis.embed(bgr, chosen, found.picture) if chosen else None
    return _Photo(number, name, bgr, found, chosen, identities, annotate(bgr, faces, chosen))


def _seen(
    look: Look | None, photos: list[_Photo], face_embeds: FaceEmbeds, combine: str, watch: Watch
) -> tuple[FaceEmbeds, Tensor | None]:
    """The faces, combined and with their structure, and what of each was looked at. Hidden states of many photos would fill
    the memory, so those of an average are added up as they come."""
    combined = face_embeds.combined(combine)
    if look is None:
        return combined, None
    faces = [(photo.bgr, face) for photo in photos for face in photo.chosen]
    pooled: list[Tensor] = []
    hidden: list[Tensor] = []
    pictures: list[Tensor] = []
    for number, (bgr, face) in enumerate(faces):
        watch(number, len(faces))
        structure = look(ffhq_crop(bgr, face))
        pictures.append(structure.picture)
        if combine == "average" and pooled:
            pooled[0], hidden[0] = pooled[0] + structure.pooled, hidden[0] + structure.hidden
        else:
            pooled.append(structure.pooled)
            hidden.append(structure.hidden)
    watch(len(faces), len(faces))
    share = len(pooled) / len(faces)
    seen = replace(combined, structure_pooled=torch.stack(pooled) * share, structure_hidden=torch.stack(hidden) * share)
    return seen, torch.stack(pictures)


def _with_places(face_embeds: FaceEmbeds, counts: list[int]) -> FaceEmbeds:
    """`counts` faces for each photo, and one row for nobody where there is none, so that the n-th stays the n-th."""
    rows: list[int] = []
    metadata: list[dict[str, Any]] = []
    at = 0
    for count in counts:
        rows += range(at, at + count) if count else [-1]
        metadata += face_embeds.faces[at : at + count] if count else [NOBODY]
        at += count
    identity = torch.cat([face_embeds.identity, torch.zeros_like(face_embeds.identity[:1])])[rows]  # -1 is the row of zeros
    hidden = face_embeds.clip_hidden
    if hidden is not None and face_embeds.clip_hidden_zero is not None:
        hidden = torch.cat([hidden, face_embeds.clip_hidden_zero.to(hidden)])[rows]
    seen = {name: _or_zeros(getattr(face_embeds, name), rows) for name in ("structure_pooled", "structure_hidden")}
    return FaceEmbeds(identity, hidden, face_embeds.clip_hidden_zero, tuple(metadata), per_image=True, **seen)


def _or_zeros(states: Tensor | None, rows: list[int]) -> Tensor | None:
    return None if states is None else torch.stack([torch.zeros_like(states[0]) if row < 0 else states[row] for row in rows])


def _report(
    face_analysis: FaceAnalysis, photos: list[_Photo], face_embeds: FaceEmbeds, owners: list[int], combine: str, select: str
) -> dict[str, Any]:
    warnings: list[str] = []
    pictures = []
    for photo in photos:
        entry = _describe(photo)
        pictures.append(entry)
        if not photo.chosen:
            kept = "; its place is kept for nobody" if combine == "one per image" else ""
            warnings.append(f"{photo.name} skipped{kept}. {face_analysis.no_face(*photo.bgr.shape[:2])}")
        else:
            warnings += _warnings(photo, entry)
    judge = recogniser(face_analysis.recogniser)
    known = all(judge.judges(face.bbox, face.kps, face.confidence) for photo in photos for face in photo.chosen)
    same = combine != "one per image" and select != "all" and known
    strangers = outliers(face_embeds.normed_identity, judge.same_person) if same else {}
    for row, cosine in strangers.items():
        warnings.append(
            f"{photos[owners[row]].name} seems to show somebody else: its cosine to the other faces is {cosine:.2f}, and "
            f"{judge.same_person} or more is one person."
        )
    away = [{"picture": owners[row], "cosine": round(cosine, 4)} for row, cosine in strangers.items()]
    return {"model_pack": face_analysis.pack.name, "pictures": pictures, "outliers": away, "warnings": warnings}


def _warnings(photo: _Photo, entry: dict[str, Any]) -> list[str]:
    """What made the chosen faces hard to find, and what is wrong with them."""
    said = []
    if len(photo.found.tries) > 1:
        said.append(f"{photo.name}: found at the try number {len(photo.found.tries)} ({entry['found_by']}).")
    for face in entry["faces"]:
        who = f"{photo.name}, face {face['index']}"
        if face["chosen"] and "turned" in face:
            said.append(
                f"{who}: the head doesn't stand upright, so it was read from the photo {face['turned']}. Turn the photo if the "
                "likeness is poor."
            )
        said += [f"{who}: {problem}" for problem in face.get("quality", {}).get("problems", ())]
    return said


def _describe(photo: _Photo) -> dict[str, Any]:
    faces = []
    for index, face in enumerate(from_left(list(photo.found.faces))):
        chosen = any(face is c for c in photo.chosen)
        entry = {
            "index": index,
            "chosen": chosen,
            "confidence": round(face.confidence, 3),
            "bbox": [round(float(v), 1) for v in face.bbox],
        }
        if face.turn:
            entry["turned"] = TURNS[face.turn]
        if chosen:
            entry["quality"] = portrait_quality(photo.bgr, face).as_dict()
        faces.append(entry)
    found_by = str(photo.found.tries[-1]) if faces else None
    return {"picture": photo.number, "faces": faces, "tries": [str(t) for t in photo.found.tries], "found_by": found_by}

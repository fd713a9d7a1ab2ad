"""Which files a way is tried with, or what it lacks; nothing is loaded for that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import BrokenModelPackError, FaceGenError, UnreadableFileError
from ....models.checkpoint_kind import kind_of
from ....models.face.packs.catalogue import CATALOGUE, RECOGNISERS
from ....models.face.packs.find import find_packs, open_pack
from ....models.published import PUBLISHED
from ...model_files import ADAPTERS, MissingFiles, ModelFiles, SeveralFiles, checkpoints, find_model_files
from ...server.engines import USUAL
from ..doctor_rows.files import damage
from .ways import Way

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Finding:
    """files: what the way is tried with. Where they are None, either `broken` says what is wrong with files that are there, or
    `lacks` what there isn't, of which `fetch` names the published files. taken: of which kinds there were several."""

    way: Way
    files: ModelFiles | None = None
    lacks: str = ""
    fetch: tuple[str, ...] = ()
    broken: str = ""
    taken: tuple[str, ...] = ()


def find(way: Way, models: Path, chosen: Mapping[str, str]) -> Finding:
    """Of several files the published one, else the first. chosen: base -> the checkpoint to take."""
    names = _usual(way, models, chosen)
    taken: list[str] = []
    while True:
        try:
            files = find_model_files(models, way.method, way.base, **names)
        except SeveralFiles as error:
            name = names[error.kind] = _first(way, models, error)
            taken.append(f"{name} of {len(error.names)} files that would do")
        except MissingFiles as error:
            return _lacking(way, error.kinds, broken=_damaged(way, models, error.kinds))
        except (UnreadableFileError, BrokenModelPackError) as error:
            return Finding(way, broken=str(error))
        except FaceGenError as error:  # for another base, or of another kind than its folder says
            return Finding(way, broken=_damaged(way, models, way.starter), lacks=str(error))
        else:
            if not _knows(way, files.face_pack):
                return _lacking(way, ["face_pack"])
            return Finding(way, files, taken=tuple(taken))


def choose_checkpoints(models: Path, given: Sequence[str]) -> dict[str, str]:
    """Base -> checkpoint, of those that the user names. Raises FaceGenError for one that isn't there or has no base."""
    there = checkpoints(models / CHECKPOINTS)
    chosen: dict[str, str] = {}
    for name in given:
        if name not in there:
            raise FaceGenError(f"There is no checkpoint {name!r}. There are: {', '.join(there) or 'none'}.")
        kind = kind_of(there[name])
        kind.require_supported()
        chosen[kind.base] = name
    return chosen


def _usual(way: Way, models: Path, chosen: Mapping[str, str]) -> dict[str, str | None]:
    """Kind -> name, of the usual adapter and checkpoint where they are there: the adapter as published, or as `models convert`
    writes it."""
    published = PUBLISHED[way.starter[way.method]]
    twins = (published.file, Path(published.file).with_suffix(".safetensors").name)
    there = checkpoints(models / CHECKPOINTS, way.base)
    served = [usual.names.get("checkpoint") for usual in USUAL.values() if usual.base == way.base]
    fetched = PUBLISHED.get(way.starter.get("checkpoint", ""))
    wanted = [chosen.get(way.base), *served, fetched and fetched.file]
    return {
        way.method: next((twin for twin in twins if (models / published.folder / twin).is_file()), None),
        "checkpoint": next((name for name in wanted if name in there), None),
    }


def _first(way: Way, models: Path, several: SeveralFiles) -> str:
    """Of model packs the first that the method knows."""
    if several.kind != "face_pack":
        return several.names[0]
    packs = find_packs([str(models / "insightface")])
    return next((name for name in several.names if _knows(way, packs[name])), several.names[0])


def _knows(way: Way, pack: Path) -> bool:
    """Whether the method may read a pack's embeddings: of those that are known, the one that it was trained with."""
    name = open_pack(pack).recogniser_name
    return name not in RECOGNISERS or name == ADAPTERS[way.method].recogniser


def _lacking(way: Way, kinds: Sequence[str], broken: str = "") -> Finding:
    words = []
    for kind in kinds:
        name = way.starter.get(kind, "")
        if kind == "checkpoint":
            words.append(f"a checkpoint of {way.base}")
        elif name in CATALOGUE:
            words.append(f"the model pack {name}")
        else:
            words.append(f"{PUBLISHED[name].file} (or another file of its kind) in {PUBLISHED[name].folder}")
    fetch = tuple(way.starter[kind] for kind in kinds if kind in way.starter)
    return Finding(way, lacks=f"lacks {', '.join(words)}", fetch=fetch, broken=broken)


def _damaged(way: Way, models: Path, kinds: Sequence[str] | Mapping[str, str]) -> str:
    """What is wrong with files in the folders of these kinds; "" for nothing."""
    folders = {PUBLISHED[way.starter[kind]].folder for kind in kinds if way.starter.get(kind) in PUBLISHED}
    if "checkpoint" in kinds:
        folders.add(CHECKPOINTS)
    files = [file for folder in sorted(folders) for file in sorted((models / folder).rglob("*.safetensors"))]
    return "; ".join(f"{file.name}: {why}" for file in files if file.is_file() and (why := damage(file)))

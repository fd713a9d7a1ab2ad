"""Who is drawn (Person, the identity) and how the moment looks (View, the nuisance), both drawn from a seeded generator."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ....contract import STYLES as STYLES
from .palettes import BACKGROUNDS as BACKGROUNDS
from .palettes import CLOTHES, EYE_COLOURS, FRAME_COLOURS, LIP_COLOURS, RGB, SKIN_TONES, jitter
from .palettes import HAIR_COLOURS as HAIR_COLOURS

_HAIR: dict[str, tuple[str, float, float]] = {  # the phrase, how often on a man, on a woman
    "bald": ("bald", 1.0, 0.2),
    "short": ("short hair", 1.5, 0.7),
    "bob": ("bob haircut", 0.3, 1.3),
    "long": ("long hair", 0.5, 1.3),
    "curly": ("curly afro hair", 1.0, 1.0),
    "mohawk": ("mohawk", 0.6, 0.4),
    "bun": ("hair bun", 0.3, 1.2),
    "spiky": ("spiky hair", 1.2, 0.5),
    "ponytails": ("ponytails", 0.1, 1.2),
    "buzz": ("buzz cut", 1.2, 0.3),
    "wavy": ("wavy hair", 0.5, 1.3),
    "receding": ("receding hair", 1.0, 0.05),
    "quiff": ("quiff hair", 1.2, 0.5),
    "braid": ("hair braid", 0.1, 1.1),
}
HAIR_STYLES = tuple(_HAIR)
FRINGES = ("none", "straight", "side", "curtain")
NO_FRINGE = ("bald", "buzz", "receding", "quiff", "mohawk")  # hair styles that leave the forehead free
OVER_EARS = ("long", "bob", "wavy")
BEARDS = ("none", "moustache", "goatee", "full", "stubble", "long")
GLASSES = ("none", "round", "square", "cat-eye")
EARRINGS = ("none", "studs", "hoops")
GARMENTS = ("t-shirt", "shirt", "turtleneck", "hoodie", "suit")
_SCALARS = (
    "eye_size",
    "eye_spacing",
    "eye_slant",
    "brow_thickness",
    "brow_angle",
    "nose_length",
    "nose_width",
    "mouth_width",
    "lip_fullness",
    "face_width",
    "jaw",
    "ear_size",
    "face_length",
    "chin",
    "cheeks",
    "eye_shape",
    "brow_height",
    "brow_arch",
    "nose_tip",
    "mouth_height",
    "hair_length",
    "hair_volume",
    "hairline",
    "parting",
    "mark_place",
)
_AMOUNTS = ("age", "freckles", "blush", "lipstick", "mole", "scar")
KINDS = (
    "subject",
    "hair_colour",
    "hair_style",
    "glasses",
    "beard",
    "skin",
    "eyes",
    "eye_size",
    "face",
    "brows",
    "nose",
    "fringe",
    "earrings",
    "marks",
    "age",
    "clothes",
    "expression",
    "pose",
    "background",
)


def _pick(rng: np.random.Generator, names: tuple[str, ...] | dict[str, RGB], weights: tuple[float, ...] | None = None) -> str:
    """One of the names, by weight where given."""
    keys = list(names)
    p = None if weights is None else np.asarray(weights) / sum(weights)
    return keys[int(rng.choice(len(keys), p=p))]


def _one_hot(names: tuple[str, ...] | dict[str, RGB], name: str) -> list[float]:
    """1 at the name's place, 0 elsewhere."""
    return [float(key == name) for key in names]


@dataclass(frozen=True)
class Person:
    """One identity. Colours are RGB in 0..1, shape scalars -1..1 about the average, amounts 0..1."""

    gender: str
    hair_colour: str
    hair_rgb: RGB
    hair_style: str
    fringe: str
    skin_tone: str
    skin_rgb: RGB
    eye_colour: str
    beard: str
    glasses: str
    earrings: str
    frame_colour: str
    lip_colour: str
    eye_size: float
    eye_spacing: float
    eye_slant: float
    brow_thickness: float
    brow_angle: float
    nose_length: float
    nose_width: float
    mouth_width: float
    lip_fullness: float
    face_width: float
    jaw: float
    ear_size: float
    face_length: float
    chin: float
    cheeks: float
    eye_shape: float
    brow_height: float
    brow_arch: float
    nose_tip: float
    mouth_height: float
    hair_length: float
    hair_volume: float
    hairline: float
    parting: float
    mark_place: float
    age: float
    freckles: float
    blush: float
    lipstick: float
    mole: float
    scar: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Person:
        """An identity of independent draws; only hair styles, beards, lipstick and earrings go by gender."""
        gender = _pick(rng, ("man", "woman"))
        man = gender == "man"
        colour, tone = _pick(rng, HAIR_COLOURS), _pick(rng, SKIN_TONES)
        style = _pick(rng, HAIR_STYLES, tuple(often[1 if man else 2] for often in _HAIR.values()))
        fringe = _pick(rng, FRINGES)
        beard = _pick(rng, BEARDS, (1.6, 1, 1, 1, 0.8, 0.6))
        earrings = _pick(rng, EARRINGS, (4, 0.5, 0.5) if man else (1, 1, 1))
        lipstick = float(rng.random() < 0.5) * float(rng.uniform(0.6, 1.0))
        return cls(
            gender=gender,
            hair_colour=colour,
            hair_rgb=jitter(HAIR_COLOURS[colour], rng, 0.02),
            hair_style=style,
            fringe="none" if style in NO_FRINGE else fringe,
            skin_tone=tone,
            skin_rgb=jitter(SKIN_TONES[tone], rng, 0.012),
            eye_colour=_pick(rng, EYE_COLOURS),
            beard=beard if man else "none",
            glasses=_pick(rng, GLASSES, (3, 1, 1, 0.4 if man else 1)),
            earrings=earrings,
            frame_colour=_pick(rng, FRAME_COLOURS),
            lip_colour=_pick(rng, LIP_COLOURS),
            **{name: float(rng.uniform(-1.0, 1.0)) for name in _SCALARS},
            age=float(max(0.0, rng.uniform(-0.8, 1.0))),
            freckles=float(rng.random() < 0.22),
            blush=float(max(0.0, rng.uniform(-1.0, 1.0))),
            lipstick=0.0 if man else lipstick,
            mole=float(rng.random() < 0.2),
            scar=float(rng.random() < 0.1),
        )

    def with_hair(self, colour: str, rng: np.random.Generator) -> Person:
        """The same person with hair of the named colour, jittered anew."""
        return replace(self, hair_colour=colour, hair_rgb=jitter(HAIR_COLOURS[colour], rng, 0.02))

    def with_glasses(self, kind: str) -> Person:
        """The same person with glasses of that kind (one of GLASSES)."""
        return replace(self, glasses=kind)

    @property
    def ears_show(self) -> bool:
        """Whether the hair leaves the ears free."""
        return self.hair_style not in OVER_EARS

    def _hidden(self) -> set[str]:
        """The scalars that nothing of the picture shows."""
        style, straight = self.hair_style, self.fringe == "straight"
        hidden = {
            "ear_size": not self.ears_show,
            "hair_length": style in ("bald", "bun", "spiky", "buzz", "receding", "quiff", "braid"),
            "hair_volume": style in ("bald", "buzz"),
            "hairline": style == "bald" or straight,
            "parting": style in ("bald", "receding") or (straight and style in ("bun", "ponytails", "curly")),
            "mark_place": not (self.mole or self.scar),
        }
        return {name for name, yes in hidden.items() if yes}

    def vector(self) -> np.ndarray:
        """All attributes as float32 [P]: colours and amounts scaled to -1..1, scalars as they are, categories one-hot.

        What doesn't show (the colour of no frame, the parting of a bald head) is 0.
        """
        hidden = self._hidden()
        frame = FRAME_COLOURS[self.frame_colour] if self.glasses != "none" else (0.5, 0.5, 0.5)
        amounts = [getattr(self, name) for name in _AMOUNTS]
        scaled = [2.0 * value - 1.0 for value in (*self.hair_rgb, *self.skin_rgb, *frame, *amounts)]
        parts = [
            scaled,
            [0.0 if name in hidden else getattr(self, name) for name in _SCALARS],
            [1.0 if self.gender == "woman" else -1.0],
            _one_hot(HAIR_COLOURS, self.hair_colour if self.hair_style != "bald" else ""),
            _one_hot(HAIR_STYLES, self.hair_style),
            _one_hot(FRINGES, self.fringe),
            _one_hot(SKIN_TONES, self.skin_tone),
            _one_hot(EYE_COLOURS, self.eye_colour),
            _one_hot(BEARDS, self.beard),
            _one_hot(GLASSES, self.glasses),
            _one_hot(EARRINGS, self.earrings if self.ears_show else "none"),
            _one_hot(LIP_COLOURS, self.lip_colour if self.lipstick > 0 else ""),
        ]
        return np.asarray([value for part in parts for value in part], dtype=np.float32)


@dataclass(frozen=True)
class View:
    """One moment: pose and expression in -1..1 or 0..1, light, background, and where the head lies in the frame."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    smile: float = 0.0
    mouth_open: float = 0.0
    eyelids: float = 1.0
    light: float = -0.5
    light_strength: float = 0.6
    background: str = "grey"
    background_rgb: RGB = BACKGROUNDS["grey"]
    dx: float = 0.0
    dy: float = 0.0
    zoom: float = 1.0
    clothes_rgb: RGB = CLOTHES["navy"]
    garment: str = "t-shirt"

    @classmethod
    def random(cls, rng: np.random.Generator) -> View:
        """A mostly moderate pose and expression. Roll is in degrees, dx and dy in 128ths of the picture."""
        background = _pick(rng, BACKGROUNDS)
        return cls(
            yaw=float(np.clip(rng.normal(0.0, 0.45), -1, 1)),
            pitch=float(np.clip(rng.normal(0.0, 0.45), -1, 1)),
            roll=float(np.clip(rng.normal(0.0, 4.0), -10, 10)),
            smile=float(rng.uniform(-1.0, 1.0)),
            mouth_open=float(max(0.0, rng.uniform(-1.0, 1.0))),
            eyelids=float(1.0 - 0.9 * rng.random() ** 4),
            light=float(rng.uniform(-1.0, 1.0)),
            light_strength=float(rng.uniform(0.3, 1.0)),
            background=background,
            background_rgb=jitter(BACKGROUNDS[background], rng, 0.02),
            dx=float(np.clip(rng.normal(0.0, 2.0), -5, 5)),
            dy=float(np.clip(rng.normal(0.0, 2.0), -5, 5)),
            zoom=float(rng.uniform(0.94, 1.06)),
            clothes_rgb=jitter(CLOTHES[_pick(rng, CLOTHES)], rng, 0.03),
            garment=_pick(rng, GARMENTS),
        )

    def structure(self) -> np.ndarray:
        """Pose and expression as float32 [6]: yaw, pitch, roll / 10, smile, mouth_open, eyelids."""
        values = (self.yaw, self.pitch, self.roll / 10.0, self.smile, self.mouth_open, self.eyelids)
        return np.asarray(values, dtype=np.float32)


def _size_word(value: float, low: str, high: str, threshold: float = 0.4) -> str | None:
    """The word for a scalar that is plainly below or above the average, None between."""
    if abs(value) < threshold:
        return None
    return high if value > 0 else low


def _pose_word(view: View) -> str | None:
    """Where the face looks, left and right as the picture's; None when about frontal."""
    if abs(view.yaw) > 0.4:
        return "looking right" if view.yaw > 0 else "looking left"
    if abs(view.pitch) > 0.6:
        return "looking down" if view.pitch > 0 else "looking up"
    return None


def _expression_word(view: View) -> str | None:
    """The one expression that shows most, None when neutral."""
    if view.mouth_open > 0.35:
        return "smiling with open mouth" if view.smile > 0.3 else "open mouth"
    return _size_word(view.smile, "sad", "smiling", 0.3)


def words(person: Person, view: View) -> dict[str, str]:
    """Short phrases for what is visible, by kind (a key of KINDS); a kind with nothing plain to say is left out."""
    bald = person.hair_style == "bald"
    beards = {"moustache": "moustache", "goatee": "goatee", "full": "full beard", "stubble": "stubble", "long": "long beard"}
    fringes = {"straight": "straight fringe", "side": "side fringe", "curtain": "curtain fringe"}
    marks = [name for name in ("freckles", "mole", "scar") if getattr(person, name)]
    phrases = {
        "subject": person.gender,
        "hair_colour": None if bald and person.beard == "none" else f"{person.hair_colour} hair",
        "hair_style": _HAIR[person.hair_style][0],
        "glasses": None if person.glasses == "none" else f"wearing {person.glasses} glasses",
        "beard": beards.get(person.beard),
        "skin": f"{person.skin_tone} skin",
        "eyes": f"{person.eye_colour} eyes",
        "eye_size": _size_word(person.eye_size, "small eyes", "big eyes"),
        "face": _size_word(person.face_width, "narrow face", "wide face"),
        "brows": _size_word(person.brow_thickness, "thin eyebrows", "thick eyebrows"),
        "nose": _size_word(person.nose_length + 0.6 * person.nose_width, "small nose", "big nose", 0.7),
        "fringe": fringes.get(person.fringe),
        "earrings": None if person.earrings == "none" or not person.ears_show else "wearing earrings",
        "marks": " and ".join(marks) or None,
        "clothes": f"wearing a {view.garment}",
        "age": "old" if person.age > 0.55 else None,
        "expression": _expression_word(view),
        "pose": _pose_word(view),
        "background": f"{view.background} background",
    }
    return {kind: phrase for kind, phrase in phrases.items() if phrase is not None}

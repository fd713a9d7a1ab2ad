"""Who is drawn (Person, the identity) and how the moment looks (View, the nuisance), both drawn from a seeded generator."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .....contract import STYLES as STYLES

RGB = tuple[float, float, float]

HAIR_COLOURS: dict[str, RGB] = {
    "black": (0.07, 0.06, 0.08),
    "brown": (0.36, 0.20, 0.10),
    "blonde": (0.95, 0.80, 0.38),
    "red": (0.80, 0.22, 0.07),
    "grey": (0.55, 0.56, 0.58),
    "white": (0.95, 0.95, 0.94),
    "blue": (0.13, 0.33, 0.85),
    "pink": (0.97, 0.48, 0.71),
    "purple": (0.48, 0.18, 0.68),
    "green": (0.15, 0.62, 0.27),
}
BACKGROUNDS: dict[str, RGB] = {
    "red": (0.80, 0.13, 0.14),
    "blue": (0.14, 0.32, 0.80),
    "green": (0.16, 0.58, 0.22),
    "yellow": (0.97, 0.86, 0.20),
    "purple": (0.52, 0.22, 0.70),
    "orange": (0.98, 0.55, 0.10),
    "grey": (0.52, 0.53, 0.55),
    "white": (0.96, 0.96, 0.96),
    "teal": (0.08, 0.62, 0.64),
}
SKIN_TONES: dict[str, RGB] = {
    "light": (0.99, 0.88, 0.82),
    "fair": (0.95, 0.78, 0.66),
    "tan": (0.84, 0.62, 0.44),
    "olive": (0.70, 0.54, 0.36),
    "brown": (0.52, 0.34, 0.22),
    "dark": (0.32, 0.20, 0.14),
}
HAIR_STYLES = ("bald", "short", "bob", "long", "curly", "mohawk", "bun", "spiky", "ponytails")
BEARDS = ("none", "moustache", "goatee", "full")
EYE_COLOURS: dict[str, RGB] = {
    "brown": (0.38, 0.21, 0.09),
    "blue": (0.16, 0.45, 0.88),
    "green": (0.18, 0.58, 0.25),
    "grey": (0.50, 0.55, 0.60),
    "amber": (0.82, 0.55, 0.10),
}
GLASSES = ("none", "round", "square")
FRAME_COLOURS: dict[str, RGB] = {
    "black": (0.06, 0.06, 0.07),
    "red": (0.82, 0.10, 0.12),
    "blue": (0.10, 0.25, 0.75),
    "gold": (0.85, 0.65, 0.15),
    "white": (0.97, 0.97, 0.97),
}
LIP_COLOURS: dict[str, RGB] = {
    "rose": (0.80, 0.36, 0.36),
    "crimson": (0.78, 0.05, 0.12),
    "plum": (0.50, 0.10, 0.35),
    "pink": (0.95, 0.35, 0.55),
}
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
)
_AMOUNTS = ("age", "freckles", "blush", "lipstick")
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
    "age",
    "expression",
    "pose",
    "background",
)


def jitter(rgb: RGB, rng: np.random.Generator, sigma: float) -> RGB:
    """The colour with normal noise of `sigma` on each channel, kept in 0..1."""
    red, green, blue = np.clip(np.asarray(rgb) + rng.normal(0.0, sigma, 3), 0.0, 1.0)
    return float(red), float(green), float(blue)


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
    skin_tone: str
    skin_rgb: RGB
    eye_colour: str
    beard: str
    glasses: str
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
    age: float
    freckles: float
    blush: float
    lipstick: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Person:
        """An identity of independent draws; only beards (none on women) and lipstick go by gender."""
        gender = _pick(rng, ("man", "woman"))
        man = gender == "man"
        colour, tone = _pick(rng, HAIR_COLOURS), _pick(rng, SKIN_TONES)
        style_weights = (1.2, 1.4, 0.6, 0.8, 1, 1, 0.8, 1.2, 0.4) if man else (0.4, 1, 1.2, 1.3, 1, 0.8, 1.2, 0.7, 1.3)
        beard = _pick(rng, BEARDS, (1.2, 1, 1, 1.3))
        lipstick = float(rng.random() < 0.5) * float(rng.uniform(0.6, 1.0))
        return cls(
            gender=gender,
            hair_colour=colour,
            hair_rgb=jitter(HAIR_COLOURS[colour], rng, 0.02),
            hair_style=_pick(rng, HAIR_STYLES, style_weights),
            skin_tone=tone,
            skin_rgb=jitter(SKIN_TONES[tone], rng, 0.012),
            eye_colour=_pick(rng, EYE_COLOURS),
            beard=beard if man else "none",
            glasses=_pick(rng, GLASSES, (2, 1, 1)),
            frame_colour=_pick(rng, FRAME_COLOURS),
            lip_colour=_pick(rng, LIP_COLOURS),
            **{name: float(rng.uniform(-1.0, 1.0)) for name in _SCALARS},
            age=float(max(0.0, rng.uniform(-0.8, 1.0))),
            freckles=float(rng.random() < 0.25),
            blush=float(max(0.0, rng.uniform(-1.0, 1.0))),
            lipstick=0.0 if man else lipstick,
        )

    def with_hair(self, colour: str, rng: np.random.Generator) -> Person:
        """The same person with hair of the named colour, jittered anew."""
        return replace(self, hair_colour=colour, hair_rgb=jitter(HAIR_COLOURS[colour], rng, 0.02))

    def with_glasses(self, kind: str) -> Person:
        """The same person with glasses of that kind (one of GLASSES)."""
        return replace(self, glasses=kind)

    def vector(self) -> np.ndarray:
        """All attributes as float32 [P]: colours and amounts scaled to -1..1, scalars as they are, categories one-hot."""
        frame = FRAME_COLOURS[self.frame_colour] if self.glasses != "none" else (0.5, 0.5, 0.5)
        amounts = [getattr(self, name) for name in _AMOUNTS]
        scaled = [2.0 * value - 1.0 for value in (*self.hair_rgb, *self.skin_rgb, *frame, *amounts)]
        parts = [
            scaled,
            [getattr(self, name) for name in _SCALARS],
            [1.0 if self.gender == "woman" else -1.0],
            _one_hot(HAIR_COLOURS, self.hair_colour if self.hair_style != "bald" else ""),
            _one_hot(HAIR_STYLES, self.hair_style),
            _one_hot(SKIN_TONES, self.skin_tone),
            _one_hot(EYE_COLOURS, self.eye_colour),
            _one_hot(BEARDS, self.beard),
            _one_hot(GLASSES, self.glasses),
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
    clothes_rgb: RGB = (0.3, 0.3, 0.35)

    @classmethod
    def random(cls, rng: np.random.Generator) -> View:
        """A mostly moderate pose and expression. Roll is in degrees, dx and dy in pixels of a 128-pixel picture."""
        background = _pick(rng, BACKGROUNDS)
        red, green, blue = rng.uniform(0.1, 0.9, 3)
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
            clothes_rgb=(float(red), float(green), float(blue)),
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
    styles = {"bob": "bob haircut", "curly": "curly afro hair", "mohawk": "mohawk", "bun": "hair bun", "ponytails": "ponytails"}
    beards = {"moustache": "moustache", "goatee": "goatee", "full": "full beard"}
    phrases = {
        "subject": person.gender,
        "hair_colour": None if bald and person.beard == "none" else f"{person.hair_colour} hair",
        "hair_style": "bald" if bald else styles.get(person.hair_style, f"{person.hair_style} hair"),
        "glasses": None if person.glasses == "none" else f"wearing {person.glasses} glasses",
        "beard": beards.get(person.beard),
        "skin": f"{person.skin_tone} skin",
        "eyes": f"{person.eye_colour} eyes",
        "eye_size": _size_word(person.eye_size, "small eyes", "big eyes"),
        "face": _size_word(person.face_width, "narrow face", "wide face"),
        "brows": _size_word(person.brow_thickness, "thin eyebrows", "thick eyebrows"),
        "age": "old" if person.age > 0.55 else None,
        "expression": _expression_word(view),
        "pose": _pose_word(view),
        "background": f"{view.background} background",
    }
    return {kind: phrase for kind, phrase in phrases.items() if phrase is not None}

"""Where the parts of a head lie, in drawing units (128 to the side of the picture before the camera), for one person, pose and
style."""

from __future__ import annotations

import math
from dataclasses import dataclass

import skia

from .person import Person, View


@dataclass(frozen=True)
class Proportions:
    """A style's head: heights of its parts, half width, eye half distance and full eye size."""

    crown: float
    eye_y: float
    nose_y: float
    mouth_y: float
    chin: float
    half: float
    eye_dx: float
    eye_w: float
    eye_h: float
    mouth_w: float
    point: float


PROPORTIONS = {
    "realistic": Proportions(18, 63, 82.5, 95.5, 114, 36.5, 17.2, 18.5, 9.6, 28, 0.0),
    "anime": Proportions(18, 66, 84, 95, 112, 39, 19, 22, 22, 20, -0.6),
    "3d": Proportions(20, 65, 81, 94, 111, 40, 19, 24, 23.5, 27, 0.15),
    "chibi": Proportions(14, 66, 79, 87, 99, 48, 23, 25, 30, 16, 0.12),
    "comic": Proportions(18, 62, 81, 96, 115, 37.5, 18, 19.5, 11.5, 32, 0.3),
}
TURN = 0.30
RADIUS = 52.0


@dataclass(frozen=True)
class Head:
    """The placed head: `half` is its half width, (cx, *) its middle line, the rest per-feature sizes."""

    person: Person
    view: View
    style: str
    p: Proportions
    cx: float
    half: float

    def at(self, u: float, y: float, lift: float = 0.0) -> tuple[float, float]:
        """A face point u units right of the middle line, slid by yaw and pitch; `lift` is how far it stands out."""
        angle = math.asin(max(-0.95, min(0.95, u / RADIUS))) + TURN * self.view.yaw
        return 64.0 + (RADIUS + lift) * math.sin(angle), y + self.view.pitch * (5.0 + 0.12 * lift)

    def squeeze(self, u: float) -> float:
        """How much narrower a feature at u looks by the turn; kept above 0.84 so that far eyes stay readable."""
        angle = math.asin(max(-0.95, min(0.95, u / RADIUS)))
        return max(0.84, min(1.06, math.cos(angle + TURN * self.view.yaw) / math.cos(angle)))

    def down(self, y: float) -> float:
        """A height below (or above) the eyes, in a longer or shorter face."""
        return self.p.eye_y + (y - self.p.eye_y) * (1.0 + 0.10 * self.person.face_length)

    @property
    def small(self) -> bool:
        """Whether the style leaves the face little room below the eyes."""
        return self.style == "chibi"

    @property
    def crown(self) -> float:
        """The skull's highest point."""
        return self.p.crown - 2.0 * self.person.face_length

    @property
    def eye_u(self) -> float:
        """Half the eye distance before the turn."""
        return self.p.eye_dx * (1.0 + 0.12 * self.person.eye_spacing + 0.08 * self.person.face_width)

    @property
    def eye_half(self) -> tuple[float, float]:
        """Half width and half height of a wide open eye."""
        person = self.person
        wide = 0.5 * self.p.eye_w * (1.0 + 0.14 * person.eye_size)
        return wide, 0.5 * self.p.eye_h * (1.0 + 0.17 * person.eye_size + 0.17 * person.eye_shape)

    @property
    def brow_y(self) -> float:
        """The height of a brow's middle."""
        gap = {"realistic": 7.0, "anime": 4.5, "3d": 6.0, "chibi": 3.5, "comic": 6.5}[self.style]
        return self.p.eye_y - self.eye_half[1] - gap - 2.2 * self.person.brow_height

    @property
    def hairline(self) -> float:
        """The height of the hairline in the forehead's middle."""
        top = self.crown
        return top + (self.brow_y - top) * (0.46 - 0.20 * self.person.hairline) + 2.0 * self.view.pitch

    @property
    def nose(self) -> tuple[float, float]:
        """The nose's tip."""
        length = (1.5 if self.small else 3.2) * self.person.nose_length
        return self.at(0.0, self.down(self.p.nose_y) + length, 14.0)

    @property
    def mouth(self) -> tuple[float, float, float]:
        """The mouth's middle (x, y) and its half width."""
        raised = (0.8 if self.small else 1.6) * self.person.mouth_height
        x, y = self.at(0.0, self.down(self.p.mouth_y) + 1.2 * self.person.nose_length * (not self.small) - raised, 4.0)
        wide = 1.0 + 0.2 * self.person.mouth_width + 0.12 * max(0.0, self.view.smile) + 0.05 * self.person.face_width
        return x, y, 0.5 * self.p.mouth_w * wide

    @property
    def chin(self) -> tuple[float, float]:
        """The chin's lowest point."""
        drop = 0.8 if self.small else 3.0
        return 64.0 + 9.5 * self.view.yaw, self.down(self.p.chin) + 2.5 * self.view.pitch + drop * self.view.mouth_open


def make_head(person: Person, view: View, style: str) -> Head:
    """Places the head of this person, seen so, in this style."""
    proportions, spread = PROPORTIONS[style], 0.10 if style == "chibi" else 0.15
    return Head(person, view, style, proportions, 64.0 + 6.0 * view.yaw, proportions.half * (1.0 + spread * person.face_width))


def face_path(head: Head, grow: float = 0.0) -> skia.Path:
    """The face's outline from crown to chin, `grow` units larger all round."""
    cx, half, p, person = head.cx, head.half + grow, head.p, head.person
    chin_x, chin_y = head.chin
    chin_y += grow
    jaw = max(-1.15, min(1.15, 0.85 * person.jaw + p.point))
    top, cheek = head.crown - grow, p.eye_y + 8.0
    corner_y = head.down(p.mouth_y) + 1.0 + 2.5 * jaw
    jaw_half = half * (0.79 + 0.12 * jaw + 0.07 * person.cheeks)
    chin_half = half * (0.32 + 0.15 * jaw + 0.13 * person.chin)
    full = half * (1.0 + 0.03 * person.cheeks)  # at the cheekbones
    tuck = half * (0.09 - 0.03 * jaw)  # how far the jaw's corner turns in on 8 units of height
    jaw_x = cx + 3.2 * head.view.yaw
    path = skia.Path()
    path.moveTo(cx, top)
    path.cubicTo(cx + 0.60 * half, top, cx + full, top + 17, cx + full, cheek)
    path.cubicTo(cx + full, cheek + 10, jaw_x + jaw_half + tuck, corner_y - 8, jaw_x + jaw_half, corner_y)
    path.cubicTo(jaw_x + jaw_half - tuck, corner_y + 8, chin_x + chin_half, chin_y, chin_x, chin_y)
    path.cubicTo(chin_x - chin_half, chin_y, jaw_x - jaw_half + tuck, corner_y + 8, jaw_x - jaw_half, corner_y)
    path.cubicTo(jaw_x - jaw_half - tuck, corner_y - 8, cx - full, cheek + 10, cx - full, cheek)
    path.cubicTo(cx - full, top + 17, cx - 0.60 * half, top, cx, top)
    path.close()
    return path

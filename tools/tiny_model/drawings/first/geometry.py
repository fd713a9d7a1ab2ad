"""Where the parts of a head lie, in pixels of a 128-pixel picture, for one person, pose and style."""

from __future__ import annotations

import math
from dataclasses import dataclass

import skia

from .person import Person, View


@dataclass(frozen=True)
class Proportions:
    """A style's head: heights of its parts, half width, eye half distance and full eye size, all in pixels."""

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
    "realistic": Proportions(19, 62, 80, 94.5, 113, 40, 20, 22.5, 13.5, 33, 0.0),
    "anime": Proportions(18, 64, 83, 95, 113, 41, 21, 25.5, 23, 29, -0.55),
    "3d": Proportions(19, 62, 80, 94, 112, 42, 20.5, 24, 19, 33, 0.15),
    "chibi": Proportions(17, 63, 77.5, 86, 99, 46, 22.5, 27.5, 28, 28, 0.35),
    "comic": Proportions(18, 62, 81, 95, 114, 40, 20, 23, 15, 35, 0.3),
}
TURN = 0.27
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
        """A face point u pixels right of the middle line, slid by yaw and pitch; `lift` is how far it stands out."""
        angle = math.asin(max(-0.95, min(0.95, u / RADIUS))) + TURN * self.view.yaw
        return 64.0 + (RADIUS + lift) * math.sin(angle), y + self.view.pitch * (5.0 + 0.12 * lift)

    def squeeze(self, u: float) -> float:
        """How much narrower a feature at u looks by the turn; kept above 0.86 so that far eyes stay readable."""
        angle = math.asin(max(-0.95, min(0.95, u / RADIUS)))
        return max(0.86, min(1.06, math.cos(angle + TURN * self.view.yaw) / math.cos(angle)))

    @property
    def eye_u(self) -> float:
        """Half the eye distance before the turn."""
        return self.p.eye_dx * (1.0 + 0.07 * self.person.eye_spacing + 0.10 * self.person.face_width)

    @property
    def nose(self) -> tuple[float, float]:
        """The nose's tip."""
        return self.at(0.0, self.p.nose_y + 3.0 * self.person.nose_length, 14.0)

    @property
    def mouth(self) -> tuple[float, float, float]:
        """The mouth's middle (x, y) and its half width."""
        x, y = self.at(0.0, self.p.mouth_y + 1.0 * self.person.nose_length, 4.0)
        wide = 1.0 + 0.16 * self.person.mouth_width + 0.10 * max(0.0, self.view.smile) + 0.05 * self.person.face_width
        return x, y, max(14.0, 0.5 * self.p.mouth_w * wide)

    @property
    def chin(self) -> tuple[float, float]:
        """The chin's lowest point."""
        drop = 2.5 * self.view.mouth_open if self.style != "chibi" else 0.0
        return 64.0 + 9.0 * self.view.yaw, self.p.chin + 2.5 * self.view.pitch + drop


def make_head(person: Person, view: View, style: str) -> Head:
    """Places the head of this person, seen so, in this style."""
    proportions, spread = PROPORTIONS[style], 0.13 if style == "chibi" else 0.18
    return Head(person, view, style, proportions, 64.0 + 5.5 * view.yaw, proportions.half * (1.0 + spread * person.face_width))


def face_path(head: Head, grow: float = 0.0) -> skia.Path:
    """The face's outline from crown to chin, `grow` pixels larger all round."""
    cx, half, p = head.cx, head.half + grow, head.p
    chin_x, chin_y = head.chin
    chin_y += grow
    jaw = max(-1.0, min(1.0, 0.75 * head.person.jaw + p.point))
    top, cheek = p.crown - grow, p.eye_y + 6.0
    corner_y = p.mouth_y + 1.0 + 2.0 * jaw
    jaw_half, chin_half = half * (0.80 + 0.14 * jaw), half * (0.34 + 0.24 * jaw)
    jaw_x = cx + 3.0 * head.view.yaw
    path = skia.Path()
    path.moveTo(cx, top)
    path.cubicTo(cx + 0.62 * half, top, cx + half, top + 18, cx + half, cheek)
    path.cubicTo(cx + half, cheek + 10, jaw_x + jaw_half + 2, corner_y - 6, jaw_x + jaw_half, corner_y)
    path.cubicTo(jaw_x + jaw_half * 0.88, corner_y + 8, chin_x + chin_half, chin_y, chin_x, chin_y)
    path.cubicTo(chin_x - chin_half, chin_y, jaw_x - jaw_half * 0.88, corner_y + 8, jaw_x - jaw_half, corner_y)
    path.cubicTo(jaw_x - jaw_half - 2, corner_y - 6, cx - half, cheek + 10, cx - half, cheek)
    path.cubicTo(cx - half, top + 18, cx - 0.62 * half, top, cx, top)
    path.close()
    return path

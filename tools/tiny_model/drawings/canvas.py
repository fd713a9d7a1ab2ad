"""How each style fills, shades and outlines a shape: one canvas for all parts, so that a style is one look throughout."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from itertools import pairwise

import skia

RGB = tuple[float, float, float]
BLACK: RGB = (0.03, 0.03, 0.05)
WHITE: RGB = (1.0, 1.0, 1.0)
WARM: RGB = (1.0, 0.96, 0.88)


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`share` of b in a."""
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))


def dim(rgb: RGB, amount: float) -> RGB:
    """The colour in shadow: darker; skin and other warm colours stay warm there."""
    warmth = min(1.0, max(0.0, 2.5 * (rgb[0] - rgb[2])))
    losses = mix((0.74, 0.78, 0.76), (0.58, 0.82, 0.92), warmth)
    return tuple(value * (1.0 - amount * loss) for value, loss in zip(rgb, losses, strict=True))


def saturate(rgb: RGB, factor: float) -> RGB:
    """The colour moved away from (factor > 1) or towards its own grey."""
    grey = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]
    return tuple(min(1.0, max(0.0, grey + (value - grey) * factor)) for value in rgb)


def argb(rgb: RGB, alpha: float = 1.0) -> int:
    """The colour as skia's 32-bit integer."""
    red, green, blue = (int(min(1.0, max(0.0, value)) * 255 + 0.5) for value in rgb)
    return int(min(1.0, max(0.0, alpha)) * 255 + 0.5) << 24 | red << 16 | green << 8 | blue


@dataclass(frozen=True)
class Look:
    """A style's constants: outline width in drawing units, how dark the ink is, and how colours shift."""

    outline: float
    ink: float
    pastel: float
    saturation: float


LOOKS = {
    "realistic": Look(0.0, 0.0, 0.0, 0.92),
    "anime": Look(1.25, 0.72, 0.05, 1.1),
    "3d": Look(0.0, 0.0, 0.0, 1.18),
    "chibi": Look(2.3, 0.58, 0.22, 1.1),
    "comic": Look(3.0, 1.0, 0.0, 1.4),
}


@functools.lru_cache(maxsize=256)
def blur(sigma: float) -> skia.MaskFilter:
    """A soft edge of that many units."""
    return skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, sigma)


def oval(x: float, y: float, rx: float, ry: float) -> skia.Path:
    """An ellipse about (x, y)."""
    path = skia.Path()
    path.addOval(skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry))
    return path


def polyline(*points: tuple[float, float], closed: bool = False) -> skia.Path:
    """Straight lines from point to point."""
    path = skia.Path()
    path.addPoly([skia.Point(*point) for point in points], closed)
    return path


def curve(*points: tuple[float, float]) -> skia.Path:
    """A smooth line that starts at the first point, ends at the last and bends towards those between."""
    path = skia.Path()
    path.moveTo(*points[0])
    bend(path, *points[1:])
    return path


def bend(path: skia.Path, *points: tuple[float, float]) -> None:
    """Goes on smoothly from where the path is: towards all points but the last, and to the last."""
    for (x, y), (next_x, next_y) in pairwise(points[:-1]):
        path.quadTo(x, y, 0.5 * (x + next_x), 0.5 * (y + next_y))
    if len(points) > 1:
        path.quadTo(*points[-2], *points[-1])
    else:
        path.lineTo(*points[-1])


def ribbon(points: list[tuple[float, float]], width: float, end: float) -> skia.Path:
    """A line that is `width` wide about its middle and `end` wide at its end, as a closed shape: brows, strands."""
    (ax, ay), (bx, by), (cx, cy) = points
    length = math.hypot(cx - ax, cy - ay) or 1.0
    nx, ny = (ay - cy) / length, (cx - ax) / length
    path = skia.Path()
    path.moveTo(ax + 0.42 * width * nx, ay + 0.42 * width * ny)
    path.quadTo(bx + 0.5 * width * nx, by + 0.5 * width * ny, cx + 0.5 * end * nx, cy + 0.5 * end * ny)
    path.lineTo(cx - 0.5 * end * nx, cy - 0.5 * end * ny)
    path.quadTo(bx - 0.6 * width * nx, by - 0.6 * width * ny, ax - 0.42 * width * nx, ay - 0.42 * width * ny)
    path.close()
    return path


class Canvas:
    """Paints shapes on one of skia's canvases, in one style under one light (-1 from the left .. 1 from the right)."""

    def __init__(self, skia_canvas: skia.Canvas, style: str, light: float, strength: float) -> None:
        self.skia_canvas, self.style, self.look = skia_canvas, style, LOOKS[style]
        # A light from straight ahead would leave no shadow side to draw, so it always leans to one side.
        self.side = 1.0 if light >= 0 else -1.0
        self.lean = self.side * max(0.35, abs(light))
        self.strength = strength
        self.soft = style in ("realistic", "3d")

    def tint(self, rgb: RGB) -> RGB:
        """The style's version of a colour."""
        # Dark colours keep their depth: a pastel dark skin would otherwise turn grey.
        pastel = self.look.pastel * min(1.0, 0.25 + max(rgb))
        return mix(saturate(rgb, self.look.saturation), WHITE, pastel)

    def ink(self, rgb: RGB) -> RGB:
        """The outline's colour about a shape of this colour."""
        return mix(self.tint(rgb), (0.14, 0.05, 0.10) if self.style != "comic" else BLACK, self.look.ink)

    def flat(self, path: skia.Path, rgb: RGB, alpha: float = 1.0, soft: float = 0.0) -> None:
        """Fills the path with the colour as given, its edge blurred by `soft` units."""
        paint = skia.Paint(AntiAlias=True, Color=argb(rgb, alpha))
        if soft > 0:
            paint.setMaskFilter(blur(soft))
        self.skia_canvas.drawPath(path, paint)

    def fade(self, path: skia.Path, start: tuple[float, float], end: tuple[float, float], colours: list[int]) -> None:
        """Fills the path with colours (of `argb`) that go over into each other from one point to the other."""
        shader = skia.GradientShader.MakeLinear([skia.Point(*start), skia.Point(*end)], colours)
        self.skia_canvas.drawPath(path, skia.Paint(AntiAlias=True, Shader=shader))

    def stroke(self, path: skia.Path, rgb: RGB, width: float, alpha: float = 1.0, soft: float = 0.0) -> None:
        """Draws the path as a round-ended line of that width."""
        paint = skia.Paint(AntiAlias=True, Color=argb(rgb, alpha), Style=skia.Paint.kStroke_Style, StrokeWidth=width)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
        paint.setStrokeJoin(skia.Paint.kRound_Join)
        if soft > 0:
            paint.setMaskFilter(blur(soft))
        self.skia_canvas.drawPath(path, paint)

    def glow(self, x: float, y: float, rx: float, ry: float, rgb: RGB, alpha: float) -> None:
        """A soft spot that fades to nothing at its rim; much cheaper than a blurred oval."""
        if alpha <= 0.01:
            return
        colours = [argb(rgb, alpha), argb(rgb, 0.72 * alpha), argb(rgb, 0.22 * alpha), argb(rgb, 0.0)]
        shader = skia.GradientShader.MakeRadial(skia.Point(0, 0), 1.0, colours, [0.0, 0.35, 0.7, 1.0])
        self.skia_canvas.save()
        self.skia_canvas.translate(x, y)
        self.skia_canvas.scale(rx, ry)
        self.skia_canvas.drawCircle(0, 0, 1.0, skia.Paint(AntiAlias=True, Shader=shader))
        self.skia_canvas.restore()

    def streak(self, path: skia.Path, rgb: RGB, width: float, alpha: float, reach: tuple[float, float]) -> None:
        """A line that shows between two heights only and fades towards both: light on a strand."""
        ends = [skia.Point(0, reach[0]), skia.Point(0, reach[1])]
        colours = [argb(rgb, 0.0), argb(rgb, alpha), argb(rgb, 0.8 * alpha), argb(rgb, 0.0)]
        shader = skia.GradientShader.MakeLinear(ends, colours, [0.0, 0.4, 0.6, 1.0])
        paint = skia.Paint(AntiAlias=True, Style=skia.Paint.kStroke_Style, StrokeWidth=width, Shader=shader)
        self.skia_canvas.drawPath(path, paint)

    def clipped(self, path: skia.Path) -> _Clip:
        """Within `with`, only what lies inside the path is painted."""
        return _Clip(self.skia_canvas, path)

    def outline(self, path: skia.Path, rgb: RGB, scale: float = 1.0) -> None:
        """The style's outline, where it has one."""
        if self.look.outline > 0:
            self.stroke(path, self.ink(rgb), self.look.outline * scale)

    def shape(self, path: skia.Path, rgb: RGB, depth: float = 9.0, outline: float = 1.0) -> None:
        """A lit, filled, outlined solid; `depth` is about how many units wide its hard shadow is."""
        colour = self.tint(rgb)
        if self.soft:
            self._rounded(path, colour)
        else:
            self.flat(path, colour)
            if depth > 0:
                self._hard_shadow(path, colour, depth)
        if outline > 0:
            self.outline(path, rgb, outline)

    def _rounded(self, path: skia.Path, colour: RGB) -> None:
        """A gradient over the shape: across by the light when realistic, about a bright spot when 3d."""
        box = path.getBounds()
        power = self.strength
        if self.style == "3d":
            radius = 0.62 * math.hypot(box.width(), box.height())
            spot = skia.Point(box.centerX() + 0.22 * box.width() * self.side, box.top() + 0.30 * box.height())
            shades = [mix(colour, WHITE, 0.22), colour, dim(colour, 0.22 + 0.1 * power), dim(colour, 0.5 + 0.2 * power)]
            shader = skia.GradientShader.MakeRadial(spot, radius, [argb(c) for c in shades], [0.0, 0.34, 0.68, 1.0])
        else:
            reach, x, y = 0.5 * box.width(), box.centerX(), box.centerY()
            rise = 0.34 * box.height() * (1.0 - 0.6 * abs(self.lean))
            start = skia.Point(x + reach * self.lean, y - rise)
            end = skia.Point(x - reach * self.lean, y + rise)
            shades = [
                mix(colour, WARM, 0.10 + 0.10 * power),
                colour,
                dim(colour, 0.2 + 0.15 * power),
                dim(colour, 0.4 + 0.3 * power),
            ]
            shader = skia.GradientShader.MakeLinear([start, end], [argb(c) for c in shades], [0.0, 0.36, 0.72, 1.0])
        self.skia_canvas.drawPath(path, skia.Paint(AntiAlias=True, Shader=shader))

    def _hard_shadow(self, path: skia.Path, colour: RGB, depth: float) -> None:
        """The crescent that the light does not reach: cel shade, soft pastel shade, or ink and halftone."""
        wide = depth * (0.7 + 0.5 * self.strength)
        with self.clipped(path):
            if self.style == "comic":
                self._outside(path, wide * self.side, -0.35 * wide, self.dots(mix(colour, BLACK, 0.6)))
                if depth >= 6.0:
                    solid = skia.Paint(AntiAlias=True, Color=argb(mix(colour, BLACK, 0.85)))
                    self._outside(path, 0.36 * wide * self.side, -0.14 * wide, solid)
            else:
                self._outside(path, wide * self.side, -0.35 * wide, skia.Paint(AntiAlias=True, Color=argb(self.shade(colour))))

    def shade(self, colour: RGB) -> RGB:
        """The colour of a drawn style's shadow on this (tinted) colour."""
        return mix(colour, (0.30, 0.08, 0.36), 0.32) if self.style == "anime" else mix(colour, (0.45, 0.12, 0.40), 0.16)

    def _outside(self, path: skia.Path, dx: float, dy: float, paint: skia.Paint) -> None:
        """Paints what lies outside the path moved by (dx, dy); an inverse fill is much cheaper than a second clip."""
        moved = skia.Path(path)
        moved.offset(dx, dy)
        moved.toggleInverseFillType()
        self.skia_canvas.drawPath(moved, paint)

    def cast(self, path: skia.Path, onto: skia.Path, rgb: RGB, drop: float = 3.0) -> None:
        """The shadow of a shape on the one of colour `rgb` below it: soft in the lit styles, hard in the drawn ones."""
        moved = skia.Path(path)
        moved.offset(-0.6 * drop * self.side, drop)
        with self.clipped(onto):
            if self.soft:
                self.flat(moved, dim(self.tint(rgb), 0.85), 0.5, 1.8)
            elif self.style == "comic":
                self.skia_canvas.drawPath(moved, self.dots(mix(self.tint(rgb), BLACK, 0.6)))
            else:
                self.flat(moved, self.shade(self.tint(rgb)))

    def gloss(self, x: float, y: float, rx: float, ry: float, amount: float = 0.7) -> None:
        """A soft white highlight, strong in 3d, faint when realistic, absent elsewhere."""
        if self.style == "3d":
            self.glow(x, y, 1.35 * rx, 1.35 * ry, WHITE, amount)
        elif self.style == "realistic":
            self.glow(x, y, 1.5 * rx, 1.5 * ry, WARM, amount * (0.22 + 0.22 * self.strength))

    def dots(self, rgb: RGB) -> skia.Paint:
        """Halftone of that colour. The dots keep to the picture's grid of 32 x 32 cells, however the head lies."""
        matrix = skia.Matrix()
        if not self.skia_canvas.getTotalMatrix().invert(matrix):
            raise ValueError("The canvas is squeezed to a line.")
        matrix.preScale(self.skia_canvas.imageInfo().width() / 32 / DOT, self.skia_canvas.imageInfo().width() / 32 / DOT)
        sampling = skia.SamplingOptions(skia.FilterMode.kLinear)
        shader = halftone(argb(rgb)).makeShader(skia.TileMode.kRepeat, skia.TileMode.kRepeat, sampling, matrix)
        return skia.Paint(AntiAlias=True, Shader=shader)


class _Clip:
    """A canvas clipped to a path for the length of a `with`."""

    def __init__(self, skia_canvas: skia.Canvas, path: skia.Path) -> None:
        self.skia_canvas, self.path = skia_canvas, path

    def __enter__(self) -> None:
        self.skia_canvas.save()
        self.skia_canvas.clipPath(self.path, skia.ClipOp.kIntersect, True)

    def __exit__(self, *raised: object) -> None:
        self.skia_canvas.restore()


DOT = 16  # pixels of one tile


@functools.lru_cache(maxsize=512)
def halftone(colour: int) -> skia.Image:
    """One tile: dots of the colour at its corners and in its middle, on nothing."""
    surface = skia.Surface(DOT, DOT)
    with surface as skia_canvas:
        skia_canvas.clear(0)
        paint = skia.Paint(AntiAlias=True, Color=colour)
        for x, y in ((0, 0), (DOT, 0), (0, DOT), (DOT, DOT), (DOT / 2, DOT / 2)):
            skia_canvas.drawCircle(x, y, 0.29 * DOT, paint)
    return surface.makeImageSnapshot()

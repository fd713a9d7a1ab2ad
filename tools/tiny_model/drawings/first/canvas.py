"""How each style fills and outlines a shape: one canvas for all parts, so that a style is one look throughout."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import skia

RGB = tuple[float, float, float]
BLACK: RGB = (0.03, 0.03, 0.05)
WHITE: RGB = (1.0, 1.0, 1.0)


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`share` of b in a."""
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))


def saturate(rgb: RGB, factor: float) -> RGB:
    """The colour moved away from (factor > 1) or towards its own grey."""
    grey = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]
    return tuple(min(1.0, max(0.0, grey + (value - grey) * factor)) for value in rgb)


def argb(rgb: RGB, alpha: float = 1.0) -> int:
    """The colour as skia's 32-bit integer."""
    red, green, blue = (int(min(1.0, max(0.0, value)) * 255 + 0.5) for value in rgb)
    return int(alpha * 255 + 0.5) << 24 | red << 16 | green << 8 | blue


@dataclass(frozen=True)
class Look:
    """A style's constants: outline width in pixels of a 128-pixel picture, and how colours shift."""

    outline: float
    ink: float
    pastel: float
    saturation: float


LOOKS = {
    "realistic": Look(0.0, 0.0, 0.0, 0.88),
    "anime": Look(1.6, 0.75, 0.06, 1.1),
    "3d": Look(0.0, 0.0, 0.0, 1.15),
    "chibi": Look(3.0, 0.62, 0.20, 1.15),
    "comic": Look(3.4, 1.0, 0.0, 1.4),
}


@functools.lru_cache(maxsize=256)
def blur(sigma: float) -> skia.MaskFilter:
    """A soft edge of that many pixels."""
    return skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, sigma)


def oval(x: float, y: float, rx: float, ry: float) -> skia.Path:
    """An ellipse about (x, y)."""
    path = skia.Path()
    path.addOval(skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry))
    return path


class Canvas:
    """Paints shapes on one of skia's canvases, in one style under one light (-1 from the left .. 1 from the right)."""

    def __init__(self, skia_canvas: skia.Canvas, style: str, light: float, strength: float) -> None:
        self.skia_canvas, self.style, self.look = skia_canvas, style, LOOKS[style]
        # A light from straight ahead would leave no shadow side to draw, so it always leans to one side.
        self.side = 1.0 if light >= 0 else -1.0
        self.lean = self.side * max(0.35, abs(light))
        self.strength = strength

    def tint(self, rgb: RGB) -> RGB:
        """The style's version of a colour."""
        # Dark colours keep their depth: a pastel dark skin would otherwise turn grey.
        pastel = self.look.pastel * min(1.0, 0.25 + max(rgb))
        return mix(saturate(rgb, self.look.saturation), WHITE, pastel)

    def ink(self, rgb: RGB) -> RGB:
        """The outline's colour about a shape of this colour."""
        return mix(self.tint(rgb), (0.10, 0.04, 0.08) if self.style != "comic" else BLACK, self.look.ink)

    def flat(self, path: skia.Path, rgb: RGB, alpha: float = 1.0, soft: float = 0.0) -> None:
        """Fills the path with the colour as given, its edge blurred by `soft` pixels."""
        paint = skia.Paint(AntiAlias=True, Color=argb(rgb, alpha))
        if soft > 0:
            paint.setMaskFilter(blur(soft))
        self.skia_canvas.drawPath(path, paint)

    def stroke(self, path: skia.Path, rgb: RGB, width: float, alpha: float = 1.0, soft: float = 0.0) -> None:
        """Draws the path as a round-ended line of that width."""
        paint = skia.Paint(AntiAlias=True, Color=argb(rgb, alpha), Style=skia.Paint.kStroke_Style, StrokeWidth=width)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
        paint.setStrokeJoin(skia.Paint.kRound_Join)
        if soft > 0:
            paint.setMaskFilter(blur(soft))
        self.skia_canvas.drawPath(path, paint)

    def outline(self, path: skia.Path, rgb: RGB, scale: float = 1.0) -> None:
        """The style's outline, where it has one."""
        if self.look.outline > 0:
            self.stroke(path, self.ink(rgb), self.look.outline * scale)

    def shape(self, path: skia.Path, rgb: RGB, depth: float = 9.0, outline: float = 1.0) -> None:
        """A lit, filled, outlined solid; `depth` is about how many pixels wide its hard shadow is."""
        colour = self.tint(rgb)
        if self.style in ("realistic", "3d"):
            self._rounded(path, colour)
        else:
            self.flat(path, colour)
            self._hard_shadow(path, colour, depth)
        if outline > 0:
            self.outline(path, rgb, outline)

    def _rounded(self, path: skia.Path, colour: RGB) -> None:
        """A gradient over the shape: across by the light when realistic, about a bright spot when 3d."""
        box = path.getBounds()
        dark = mix(colour, (0.05, 0.01, 0.04), 0.30 + 0.30 * self.strength)
        middle = skia.Point(box.centerX(), box.centerY())
        if self.style == "3d":
            radius = 0.62 * max(box.width(), box.height())
            spot = skia.Point(box.centerX() + 0.2 * box.width() * self.side, box.top() + 0.28 * box.height())
            colours = [argb(mix(colour, WHITE, 0.42)), argb(colour), argb(mix(colour, dark, 0.25)), argb(dark)]
            shader = skia.GradientShader.MakeRadial(spot, radius * 1.15, colours, [0.0, 0.42, 0.75, 1.0])
        else:
            reach = 0.55 * box.width()
            shift = 0.30 * box.height() * (1.0 - abs(self.lean) * 0.6)
            start = skia.Point(middle.fX + reach * self.lean, middle.fY - shift)
            end = skia.Point(middle.fX - reach * self.lean, middle.fY + shift)
            bright = mix(colour, (1.0, 0.97, 0.9), 0.12 + 0.12 * self.strength)
            colours = [argb(bright), argb(colour), argb(mix(colour, dark, 0.35)), argb(dark)]
            shader = skia.GradientShader.MakeLinear([start, end], colours, [0.0, 0.35, 0.68, 1.0])
        self.skia_canvas.drawPath(path, skia.Paint(AntiAlias=True, Shader=shader))

    def _hard_shadow(self, path: skia.Path, colour: RGB, depth: float) -> None:
        """The crescent that the light does not reach: cel shade, soft pastel shade, or ink and halftone."""
        skia_canvas = self.skia_canvas
        skia_canvas.save()
        skia_canvas.clipPath(path, skia.ClipOp.kIntersect, True)
        wide = depth * (0.7 + 0.5 * self.strength)
        if self.style == "comic":
            dots = skia.Paint(AntiAlias=True, Shader=halftone(argb(mix(colour, BLACK, 0.62))))
            self._outside(path, wide * self.side, -0.35 * wide, dots)
            if depth >= 6.0:
                solid = skia.Paint(AntiAlias=True, Color=argb(mix(colour, BLACK, 0.82)))
                self._outside(path, 0.42 * wide * self.side, -0.16 * wide, solid)
        else:
            shade = mix(colour, (0.25, 0.05, 0.35), 0.34 if self.style == "anime" else 0.13)
            self._outside(path, wide * self.side, -0.35 * wide, skia.Paint(AntiAlias=True, Color=argb(shade)))
        skia_canvas.restore()

    def _outside(self, path: skia.Path, dx: float, dy: float, paint: skia.Paint) -> None:
        """Paints what lies outside the path moved by (dx, dy); an inverse fill is much cheaper than a second clip."""
        moved = skia.Path(path)
        moved.offset(dx, dy)
        moved.toggleInverseFillType()
        self.skia_canvas.drawPath(moved, paint)

    def cast(self, path: skia.Path, onto: skia.Path) -> None:
        """The soft shadow of a shape on the one below it, in the lit styles."""
        if self.style not in ("realistic", "3d"):
            return
        self.skia_canvas.save()
        self.skia_canvas.clipPath(onto, skia.ClipOp.kIntersect, True)
        moved = skia.Path(path)
        moved.offset(-1.5 * self.side, 3.0)
        self.flat(moved, (0.10, 0.03, 0.03), 0.45, 2.2)
        self.skia_canvas.restore()

    def gloss(self, x: float, y: float, rx: float, ry: float, amount: float = 0.7) -> None:
        """A soft white highlight, strong in 3d, faint when realistic, absent elsewhere."""
        if self.style == "3d":
            self.flat(oval(x, y, rx, ry), WHITE, amount, 0.35 * min(rx, ry) + 0.6)
        elif self.style == "realistic":
            self.flat(oval(x, y, rx, ry), (1.0, 0.96, 0.9), amount * 0.28 * self.strength, 0.6 * min(rx, ry) + 1.0)


@functools.lru_cache(maxsize=512)
def halftone(colour: int) -> skia.Shader:
    """Dots of the colour on nothing, a 5-pixel grid turned by 45 degrees."""
    surface = skia.Surface(20, 20)
    with surface as skia_canvas:
        skia_canvas.clear(0)
        paint = skia.Paint(AntiAlias=True, Color=colour)
        for x, y in ((0, 0), (20, 0), (0, 20), (20, 20), (10, 10)):
            skia_canvas.drawCircle(x, y, 6.2, paint)
    sampling = skia.SamplingOptions(skia.FilterMode.kLinear)
    matrix = skia.Matrix.Scale(0.34, 0.34)
    return surface.makeImageSnapshot().makeShader(skia.TileMode.kRepeat, skia.TileMode.kRepeat, sampling, matrix)

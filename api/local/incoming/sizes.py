"""The size of a request's pictures: as asked for, or the photo's own, scaled into the endpoint's limits."""

from collections.abc import Mapping

from ....contract import Field

Given = tuple[int | None, int | None]  # width and height, None where left out
MOST = 1_000_000  # pixels of a side that is still reckoned with; more is no size that anybody means


def fit(given: Given, photo: tuple[int, int], fields: Mapping[str, Field]) -> tuple[int, int]:
    """Width and height in pixels. What was left out is as the photo has it; what is too large is scaled down, both sides
    alike, and each side is rounded to the contract's multiple."""
    width, height = (None if side is None else min(max(side, 1), MOST) for side in given)
    photo_width, photo_height = photo
    if width is None and height is None:
        width, height = photo
    elif width is None:
        width = max(1, round((height or 1) * photo_width / photo_height))
    elif height is None:
        height = max(1, round(width * photo_height / photo_width))
    sides = {"width": width or 1, "height": height or 1}
    scale = min(1.0, *(_limits(fields[name])[1] / side for name, side in sides.items()))
    fitted_width, fitted_height = (_rounded(side * scale, fields[name]) for name, side in sides.items())
    return fitted_width, fitted_height


def size_tip(given: Given, fitted: tuple[int, int]) -> str:
    """What has to be said where a side that was given isn't as it was given; "" elsewhere."""
    if all(side is None or side == now for side, now in zip(given, fitted, strict=True)):
        return ""
    if None not in given:
        return f"The size was {_shown(given[0])}x{_shown(given[1])} and is now {fitted[0]}x{fitted[1]}."
    number = 0 if given[1] is None else 1
    name = ("width", "height")[number]
    return f"{name} was {_shown(given[number])} and is now {fitted[number]}."


def _limits(rule: Field) -> tuple[int, int]:
    return int(rule.minimum or 0), int(rule.maximum or 0)


def _rounded(side: float, rule: Field) -> int:
    least, most = _limits(rule)
    step = rule.multiple_of or 1
    return min(max(round(side / step) * step, least), most)


def _shown(side: int | None) -> str:
    return str(side) if side is not None and abs(side) <= MOST else "far too much"

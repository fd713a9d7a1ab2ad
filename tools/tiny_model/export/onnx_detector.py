"""The tiny model's face detector as an ONNX file with SCRFD's signature.

The trained network finds drawn faces. Where it finds none, arithmetic looks for a real one: it compares brightness at the
places where eyes, nose and mouth would be and asks for skin colour inside an oval. That half reports at most one face, wants
it upright, frontal, in colour and an eighth of the picture or more, misses most black-and-white ones, and textures can fool it.
"""

from pathlib import Path

import numpy as np

from ....models.face.recognisers import PHOTO_BOX, PHOTO_POINTS  # the head, and eyes, nose and mouth, in that crop
from ..stages.finder import CANVAS, GRID, REACH, Finder, middles
from .onnx_graph import Graph

COLUMNS = {"score": 1, "bbox": 4, "kps": 10}
NEIGHBOURS = 5  # cells across which only the best keeps its score: a face is reported once
SURE = 0.5  # the trained half's score from which the other half isn't asked
STRIDES = (8, 16, 32)
ANCHORS = 2
CANVAS_REAL = 192  # for real faces: the picture is looked at in this size first, then ever smaller
SMALLEST = 27
PER_OCTAVE = 4
WINDOW = 25  # pixels that span ArcFace's 112-pixel crop at every size
UNIT = 112 / WINDOW
THRESHOLD = 1.25  # of the evidence, where the score leaves 0 for 0.6


def save_detector(path: Path, finder: Finder) -> None:
    """SCRFD's signature: [1, 3, H, W] RGB, (x - 127.5) / 128, to scores, boxes and points at strides 8, 16 and 32.

    What is found lies in the first rows of stride 8; every other row is zero. H and W: multiples of 32, 128 or more.
    """
    g = Graph()
    shape = g.op("Shape", "input.1")
    height, width = (g.op("Gather", shape, g.whole(axis), axis=0) for axis in (2, 3))
    side = g.op("Max", height, width)  # [1]
    picture = g.op("Add", g.op("Mul", "input.1", 128 / 255), 0.5)
    square = _square(g, picture, height, width, side)
    side = g.op("Cast", side, to=1)
    scores, places = _drawn(g, finder, square, side)
    found = g.op("Greater", g.op("ReduceMax", scores, keepdims=0), SURE)

    drawn, real = Graph("drawn_"), Graph("real_")
    outputs = [drawn.op("Identity", scores), drawn.op("Identity", places)], _real(real, square, side)
    branches = {"then_branch": (drawn, outputs[0]), "else_branch": (real, outputs[1])}
    _write(g, height, width, *g.choose(found, branches)).save(
        path,
        [("input.1", [1, 3, "height", "width"])],
        [(f"{kind}_{s}", [f"anchors_{s}", n]) for kind, n in COLUMNS.items() for s in STRIDES],
    )


def _write(g: Graph, height: str, width: str, scores: str, places: str) -> Graph:
    """Scores [n, 1] and places [n, 14] in pixels become the first rows of stride 8, relative to those rows' anchors."""
    count = g.op("Gather", g.op("Shape", scores), g.constant(0, np.int64), axis=0)
    anchor = g.op("Div", g.op("Range", g.constant(0, np.int64), count, g.constant(1, np.int64)), g.whole(ANCHORS))
    row = g.op("Div", anchor, g.op("Div", width, g.whole(STRIDES[0])))
    column = g.op("Sub", anchor, g.op("Mul", row, g.op("Div", width, g.whole(STRIDES[0]))))
    corner = g.op("Cast", g.op("Concat", *(g.op("Unsqueeze", v, g.whole(1)) for v in (column, row)), axis=1), to=1)
    distances = g.op("Sub", g.op("Mul", places, 1 / STRIDES[0]), g.op("Tile", corner, g.whole(1, 7)))
    signs = g.constant([[-1, -1, *[1] * 12]])  # the left and upper edges count backwards
    box, points = (g.op("Slice", g.op("Mul", distances, signs), *map(g.whole, part)) for part in ((0, 4, 1), (4, 14, 1)))
    for (kind, columns), rows in zip(COLUMNS.items(), (scores, box, points), strict=True):
        for stride in STRIDES:
            _rows(g, f"{kind}_{stride}", height, width, stride, columns, rows if stride == STRIDES[0] else "")
    return g


def _rows(g: Graph, output: str, height: str, width: str, stride: int, columns: int, first: str) -> None:
    """All anchors of a stride, [(H/s) (W/s) 2, columns]: zeros, after `first` if there is one."""
    cells = g.op("Mul", g.op("Div", height, g.whole(stride)), g.op("Div", width, g.whole(stride)))
    count = g.op("Mul", cells, g.whole(ANCHORS))
    if first:
        count = g.op("Sub", count, g.op("Gather", g.op("Shape", first), g.whole(0), axis=0))
    shape = g.op("Concat", count, g.whole(columns), axis=0)
    zeros = g.op("ConstantOfShape", shape, output="" if first else output)
    if first:
        g.op("Concat", first, zeros, axis=0, output=output)


def _square(g: Graph, picture: str, height: str, width: str, side: str) -> str:
    """The picture as RGB 0..1, made square with black."""
    below, right = (g.op("Sub", side, length) for length in (height, width))
    pads = g.op("Concat", g.whole(0, 0, 0, 0, 0, 0), below, right, axis=0)
    return g.op("Pad", picture, pads, 0.0)


def _resize(g: Graph, picture: str, size: int) -> str:
    return g.op("Resize", picture, "", "", g.whole(size, size), axes=[2, 3], mode="linear", antialias=1)


# --- drawn faces ----------------------------------------------------------------------------------------------------


def _drawn(g: Graph, finder: Finder, square: str, side: str) -> tuple[str, str]:
    """Scores [cells, 1], and box and points in pixels [cells, 14], of every cell of the trained network."""

    def weights(tensor) -> str:
        return g.op("Cast", g.constant(tensor.detach().cpu().numpy(), np.float16), to=1)

    x = g.op("Mul", g.op("Sub", _resize(g, square, CANVAS), 0.5), 255 / 128)
    for layer in finder.convolutions:
        x = g.op("Relu", g.op("Conv", x, weights(layer.weight), weights(layer.bias), strides=list(layer.stride), pads=[1] * 4))
    x = g.op("Conv", x, weights(finder.head.weight), weights(finder.head.bias))
    logits = g.op("Slice", x, *map(g.whole, (0, 1, 1)))
    best = g.op("MaxPool", logits, kernel_shape=[NEIGHBOURS] * 2, pads=[NEIGHBOURS // 2] * 4)
    scores = g.op("Where", g.op("Equal", logits, best), g.op("Sigmoid", logits), 0.0)
    cells = g.op("Transpose", g.op("Reshape", x, g.whole(15, GRID * GRID)), perm=[1, 0])
    places = g.op("Slice", cells, *map(g.whole, (1, 15, 1)))
    places = g.op("Add", g.op("Mul", places, float(REACH)), g.constant(np.tile(middles(), 7)))
    return g.op("Reshape", scores, g.whole(-1, 1)), g.op("Mul", places, g.op("Div", side, float(CANVAS)))


# --- real faces -----------------------------------------------------------------------------------------------------


def _real(g: Graph, square: str, side: str) -> list[str]:
    """Score [1, 1], and box and points in pixels [1, 14], of the one window that looks most like a face."""
    score, x, y, size = _best(g, _resize(g, square, CANVAS_REAL))
    x, y, unit = (g.op("Mul", v, side) for v in (x, y, g.op("Div", size, 112.0)))
    where = [(axis, value) for axis, value in zip((0, 1, 0, 1), PHOTO_BOX, strict=True)]
    where += [(axis, value) for point in PHOTO_POINTS for axis, value in enumerate(point)]
    placed = [g.op("Add", (x, y)[axis], g.op("Mul", unit, float(value - 56))) for axis, value in where]
    return [g.op("Unsqueeze", row, g.whole(0)) for row in (score, g.op("Concat", *placed, axis=0))]


def _best(g: Graph, canvas: str) -> tuple[str, str, str, str]:
    """Score 0..0.95, centre x, y and window size (as parts of the canvas) where the evidence is best, each [1]."""
    red, blue = (g.op("Gather", canvas, g.whole(c), axis=1) for c in (0, 2))
    cast = g.op("ReduceMean", g.op("Abs", g.op("Sub", red, blue)), keepdims=0)
    light = g.op("Max", g.op("ReduceMean", canvas, keepdims=0), 0.01)
    colour = g.op("Clip", g.op("Div", cast, g.op("Mul", light, 0.03)), 0.0, 1.0)  # 0 for a black-and-white photo

    columns: list[list[str]] = [[], [], [], []]  # evidence, x, y, size, one of each per level
    for size in _sizes():
        flat = g.op("Reshape", _evidence(g, _resize(g, canvas, size), colour, size), g.whole(-1))
        where = g.op("ArgMax", flat, axis=0, keepdims=1)
        row = g.op("Div", where, g.whole(size))
        column = g.op("Sub", where, g.op("Mul", row, g.whole(size)))
        columns[0].append(g.op("ReduceMax", flat, keepdims=1))
        for values, position in zip(columns[1:3], (column, row), strict=True):
            values.append(g.op("Div", g.op("Add", g.op("Cast", position, to=1), 0.5), float(size)))
        columns[3].append(g.constant([WINDOW / size]))
    levels = [g.op("Concat", *values, axis=0) for values in columns]
    best = g.op("ArgMax", levels[0], axis=0, keepdims=1)
    evidence, x, y, size = (g.op("Gather", values, best, axis=0) for values in levels)
    above = g.op("Sub", evidence, THRESHOLD)
    sure = g.op("Clip", g.op("Add", g.op("Mul", above, 0.6), 0.6), 0.0, 0.95)
    return g.op("Where", g.op("Greater", above, 0.0), sure, 0.0), x, y, size


def _sizes() -> list[int]:
    sizes = [CANVAS_REAL]
    while sizes[-1] > SMALLEST:
        sizes.append(round(sizes[-1] / 2 ** (1 / PER_OCTAVE)))
    return sizes


def _evidence(g: Graph, picture: str, colour: str, size: int) -> str:
    """How much each pixel looks like the middle of a face that fills the window, [1, 1, size, size]."""
    oval, ring, eyes, rest = _kernels()
    light = g.op("Conv", picture, g.constant(np.reshape([0.299, 0.587, 0.114], (1, 3, 1, 1))))
    margin = WINDOW // 2
    padded = g.op("Pad", light, g.whole(0, 0, margin, margin, 0, 0, margin, margin), mode="edge")

    def over_oval(values: str) -> str:
        return g.op("Conv", values, g.constant(oval))

    mean = over_oval(padded)
    variance = g.op("Sub", over_oval(g.op("Mul", padded, padded)), g.op("Mul", mean, mean))
    spread = g.op("Sqrt", g.op("Max", variance, 0.0))
    scale = g.op("Add", spread, 0.02)
    steps = [g.op("Div", g.op("Conv", padded, g.constant(k)), g.op("Mul", scale, 0.6)) for k in (eyes, rest)]
    eyes, rest = (g.op("Clip", step, -1.0, 1.0) for step in steps)
    channel = g.whole(1)
    all_eyes = g.op("Add", g.op("ReduceMean", eyes, channel), g.op("ReduceMin", eyes, channel))
    face = g.op("Add", g.op("Mul", all_eyes, 0.25), g.op("Mul", g.op("ReduceMean", rest, channel), 0.2))

    skin = g.op("Conv", _skin(g, picture, light), g.constant(oval - 0.6 * ring), pads=[margin] * 4)
    grey = g.op("Mul", g.op("Sub", 1.0, colour), 0.2)  # a photo without colour gets the benefit of the doubt
    skin = g.op("Mul", g.op("Add", g.op("Mul", skin, colour), grey), 2.4)
    larger = 0.12 * float(np.log2(4 * WINDOW / size))
    evidence = g.op("Add", g.op("Add", face, skin), larger)

    edges = g.op("Conv", padded, g.constant(np.reshape([0, 1, 0, 1, -4, 1, 0, 1, 0], (1, 1, 3, 3))), pads=[1] * 4)
    grain = g.op("Div", g.op("Sqrt", over_oval(g.op("Mul", edges, edges))), scale)
    possible = g.op("And", g.op("Less", grain, 1.3), g.op("Greater", spread, 0.04))  # neither noise nor a plain area
    return g.op("Where", possible, evidence, -10.0)


def _skin(g: Graph, picture: str, light: str) -> str:
    """Likelihood of skin from the shares of red and green, of any but the darkest pixels, [1, 1, size, size]."""
    total = g.op("Add", g.op("ReduceSum", picture, g.whole(1)), 0.03)
    distance = ""
    for channel, (share, tolerance) in enumerate(((0.40, 0.035), (0.326, 0.018))):
        part = g.op("Div", g.op("Gather", picture, g.whole(channel), axis=1), total)
        off = g.op("Div", g.op("Sub", part, share), tolerance)
        square = g.op("Mul", off, off)
        distance = g.op("Add", distance, square) if distance else square
    lit = g.op("Sigmoid", g.op("Mul", g.op("Sub", light, 0.2), 20.0))
    return g.op("Mul", g.op("Exp", g.op("Mul", distance, -0.5)), lit)


def _kernels() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Head, surroundings, steps around the eyes and steps around nose and mouth, each [n, 1, WINDOW, WINDOW].

    A step is the mean over a spot that is brighter in a face less the mean over one that is darker.
    """
    y, x = (np.mgrid[:WINDOW, :WINDOW] + 0.5) * UNIT
    radius = np.hypot((x - 56) / 42, (y - 64) / 54)
    oval, ring = 1 / (1 + np.exp(12 * (radius - 1))), (radius > 1.1).astype(float)

    def spot(cx, cy, wide, high):
        bump = np.exp(-0.5 * (((x - cx) / wide) ** 2 + ((y - cy) / high) ** 2))
        return bump / bump.sum()

    left_eye, right_eye, bridge = spot(38.3, 50, 7, 5), spot(73.6, 50, 7, 5), spot(56, 52, 5, 7)
    left_cheek, right_cheek, chin = spot(36, 72, 7, 6), spot(76, 72, 7, 6), spot(56, 106, 10, 4)
    nose, below_nose, lip, mouth = spot(56, 66, 5, 6), spot(56, 76, 9, 3.5), spot(56, 82.5, 16, 3), spot(56, 92, 13, 4)
    eyes = left_cheek - left_eye, right_cheek - right_eye, bridge - left_eye, bridge - right_eye
    rest = nose - below_nose, left_cheek - mouth, right_cheek - mouth, lip - mouth, chin - mouth
    groups = (oval / oval.sum(),), (ring / ring.sum(),), eyes, rest
    return tuple(np.stack(group)[:, None].astype(np.float32) for group in groups)

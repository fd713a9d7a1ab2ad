"""ONNX files with InsightFace's exact signatures: a detector that reports the faces it was told to, and a recogniser.

The detector ignores what is drawn but for this: in a black picture it sees nobody.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# x0, y0, x1, y1, confidence, as fractions of the square that the detector looks at; the last is too faint by default.
FACES = [
    (0.05, 0.30, 0.20, 0.50, 0.95),
    (0.40, 0.35, 0.65, 0.65, 0.80),
    (0.75, 0.10, 0.90, 0.30, 0.90),
    (0.30, 0.70, 0.40, 0.80, 0.40),
]
STRIDES = (8, 16, 32)
DETECTOR_LAYERS, RECOGNISER_LAYERS = 6, 7  # of _convolutions: 10 and 6 GFLOP in save_heavy_pack
# Where ArcFace's template has eyes, nose and mouth corners, as fractions of the face box.
KEY_POINTS = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]], np.float32)


def _const(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def save_detector(path: Path, faces: list[tuple], *, border=False, side=None, work=0) -> Path:
    """faces: up to six (x0, y0, x1, y1, score); coordinates as fractions of the square that the detector looks at.

    They come out of the first two anchors of each stride, which sit at the corner (0, 0). With `border` it sees them only
    where the top left corner is black, with `side` only at that input size. `work` adds idle convolutions of that width.
    """
    assert len(faces) <= 2 * len(STRIDES)
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["brightest"], keepdims=0),
        helper.make_node("Greater", ["brightest", "dark"], ["lit"]),
        helper.make_node("Slice", ["x", "origin", "first", "rows_and_columns"], ["corner"]),
        helper.make_node("ReduceMax", ["corner"], ["corner_light"], keepdims=0),
        helper.make_node("Less", ["corner_light", "dark"], ["bordered"]),
        helper.make_node("Equal", ["side_int", "wanted_side"], ["sized"]),
        helper.make_node("Or", ["bordered", "any_corner"], ["corner_good"]),
        helper.make_node("Or", ["sized", "any_side"], ["side_good"]),
        helper.make_node("And", ["corner_good", "side_good"], ["good"]),
        helper.make_node("And", ["lit", "good"], ["seen"]),
        helper.make_node("Cast", ["seen"], ["is_lit"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "three"], ["side_int"]),
        helper.make_node("Cast", ["side_int"], ["plain_side"], to=TensorProto.FLOAT),
    ]
    nodes = nodes[-3:] + nodes[:-3]  # ONNX wants a node after those it reads from
    consts = [
        _const("origin", np.array([0, 0], np.int64)),
        _const("first", np.array([1, 1], np.int64)),
        _const("rows_and_columns", np.array([2, 3], np.int64)),
        _const("wanted_side", np.int64(side or 0)),
        _const("any_corner", np.bool_(not border)),
        _const("any_side", np.bool_(side is None)),
        _const("dark", np.float32(-0.95)),
        _const("three", np.int64(3)),
        _const("column", np.array([-1, 1], np.int64)),
    ]
    busy = _convolutions("x", "busy", work, DETECTOR_LAYERS, stride=2) if work else ([], [], "x")
    nodes += [
        *busy[0],
        helper.make_node("ReduceMean", [busy[2]], ["busy_mean"], keepdims=0),
        helper.make_node("Mul", ["busy_mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["plain_side", "nothing"], ["side"]),
    ]
    consts += busy[1]
    outputs = []
    for level, stride in enumerate(STRIDES):
        here = faces[2 * level : 2 * level + 2]
        here = here + [(0, 0, 0, 0, 0)] * (2 - len(here))
        boxes = np.array([f[:4] for f in here], np.float32)
        points = (boxes[:, None, :2] + KEY_POINTS * (boxes[:, None, 2:] - boxes[:, None, :2])).reshape(2, 10)
        values = {
            "score": (np.array([[f[4]] for f in here], np.float32), "is_lit"),
            # distances from the anchor at (0, 0), in strides: left and top count backwards
            "bbox": (boxes * np.array([-1, -1, 1, 1], np.float32) / stride, "side"),
            "kps": (points / stride, "side"),
        }
        # two anchors per cell: as many rows as a pooled channel repeated twice
        nodes += [
            helper.make_node("AveragePool", ["x"], [f"pool{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
            helper.make_node("ReduceMean", [f"pool{stride}"], [f"cell{stride}"], axes=[1], keepdims=0),
            helper.make_node("Mul", [f"cell{stride}", "zero"], [f"blank{stride}"]),
            helper.make_node("Concat", [f"blank{stride}"] * 2, [f"both{stride}"], axis=0),
            helper.make_node("Reshape", [f"both{stride}", "column"], [f"rows{stride}"]),
            helper.make_node("Slice", [f"rows{stride}", "two", "end", "axis0"], [f"rest{stride}"]),
        ]
        for kind, (value, factor) in values.items():
            name = f"{kind}_{stride}"
            consts += [
                _const(f"{name}_value", value),
                _const(f"{name}_wide", np.zeros((1, value.shape[1]), np.float32)),
            ]
            nodes += [
                helper.make_node("Mul", [f"{name}_value", factor], [f"{name}_head"]),
                helper.make_node("Add", [f"rest{stride}", f"{name}_wide"], [f"{name}_tail"]),
                helper.make_node("Concat", [f"{name}_head", f"{name}_tail"], [name], axis=0),
            ]
    consts += [
        _const("zero", np.float32(0)),
        _const("two", np.array([2], np.int64)),
        _const("axis0", np.array([0], np.int64)),
    ]
    consts += [_const("end", np.array([2**31 - 1], np.int64))]
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        outputs += [helper.make_tensor_value_info(f"{kind}_{s}", TensorProto.FLOAT, [None, width]) for s in STRIDES]
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "height", "width"])
    return _save(helper.make_graph(nodes, "detector", [picture], outputs, consts), path)


def _convolutions(source, name, width, layers, stride=1, channels=3):
    """(nodes, constants, name of the result) of `layers` 3x3 convolutions of that width."""
    rng, nodes, consts = np.random.default_rng(1), [], []
    for i in range(layers):
        kernel = rng.standard_normal((width, channels, 3, 3)) * (channels * 9) ** -0.5
        consts.append(_const(f"{name}_kernel{i}", kernel.astype(np.float32)))
        result = f"{name}{i}"
        steps = [stride if i == 0 else 1] * 2
        nodes.append(helper.make_node("Conv", [source, f"{name}_kernel{i}"], [result], strides=steps, pads=[1] * 4))
        source, channels = result, width
    return nodes, consts, source


def save_recogniser(path: Path, seed: int = 0, work: int = 0) -> Path:
    """112x112 -> 512: a random convolution, pooled and projected. `work` adds convolutions of that width, to cost more."""
    rng = np.random.default_rng(seed)
    busy = _convolutions("c", "busy", work, RECOGNISER_LAYERS, channels=32) if work else ([], [], "c")
    more = [helper.make_node("Conv", [busy[2], "narrow"], ["d"])] if work else []
    narrow = [_const("narrow", (rng.standard_normal((32, work, 1, 1)) * work**-0.5).astype(np.float32))] if work else []
    consts = [
        *busy[1],
        *narrow,
        _const("kernel", (rng.standard_normal((32, 3, 7, 7)) * 0.15).astype(np.float32)),
        _const("matrix", (rng.standard_normal((32 * 49, 512)) * 0.05).astype(np.float32)),
        _const("flat", np.array([-1, 32 * 49], np.int64)),
    ]
    nodes = [
        helper.make_node("Conv", ["input.1", "kernel"], ["c"], kernel_shape=[7, 7], strides=[2, 2], pads=[3] * 4),
        *busy[0],
        *more,
        helper.make_node("Tanh", ["d" if work else "c"], ["a"]),
        helper.make_node("AveragePool", ["a"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["p", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "matrix"], ["embedding"]),
    ]
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [None, 3, 112, 112])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [None, 512])
    return _save(helper.make_graph(nodes, "recogniser", [picture], [embedding], consts), path)


def save_pack(folder: Path, faces: list[tuple], seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_detector(folder / "det_10g.onnx", faces)
    save_recogniser(folder / "w600k_r50.onnx", seed)
    return folder


def save_antelope(models: Path, faces: list[tuple]) -> list[Path]:
    """antelopev2, with which InstantID and PuLID were trained, in a folder of packs; its files."""
    pack = save_pack(models / "antelopev2", faces)
    return [pack / "det_10g.onnx", (pack / "w600k_r50.onnx").rename(pack / "glintr100.onnx")]


def save_heavy_pack(folder: Path, faces: list[tuple]) -> Path:
    """A pack that costs about as much as buffalo_l: 10 GFLOP for the detector at 640x640, 6 for the recogniser."""
    folder.mkdir(parents=True, exist_ok=True)
    save_detector(folder / "det_10g.onnx", faces, work=32)
    save_recogniser(folder / "w600k_r50.onnx", work=128)
    return folder


def _save(graph, path):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path

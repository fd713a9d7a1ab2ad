"""The trained recogniser as an ONNX file with ArcFace's signature."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..networks import Recogniser
from .onnx_graph import Graph

LENGTH = 20.0  # about that of buffalo_l's embeddings


@torch.no_grad()
def save_recogniser(path: Path, recogniser: Recogniser) -> None:
    """[N, 3, 112, 112] RGB, (x - 127.5) / 127.5, to [N, 512] of length LENGTH; weights are stored in half precision."""
    g = Graph()

    def weights(tensor: torch.Tensor) -> str:
        return g.op("Cast", g.constant(tensor.cpu().numpy(), np.float16), to=1)

    def convolution(block: nn.Sequential, x: str, stride: int) -> str:
        conv, norm = block[0], block[1]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        kernel, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        return g.op("Relu", g.op("Conv", x, weights(kernel), weights(bias), strides=[stride] * 2, pads=[1] * 4))

    x = convolution(recogniser.down[0], "input.1", 2)
    for down, same in zip(recogniser.down[1:], recogniser.same, strict=True):
        x = convolution(down, x, 2)
        x = g.op("Add", x, convolution(same, x, 1))
    embedding = g.op("Gemm", g.op("Flatten", x), weights(recogniser.head.weight), weights(recogniser.head.bias), transB=1)
    length = g.op("ReduceL2", embedding, g.whole(1))
    g.op("Mul", g.op("Div", embedding, length), LENGTH, output="embedding")
    g.save(path, [("input.1", ["batch", 3, 112, 112])], [("embedding", ["batch", 512])])

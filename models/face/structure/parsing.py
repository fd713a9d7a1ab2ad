"""Face parsing: which part of a face each pixel shows. BiSeNet on ResNet-18, in plain torch.

The modules are named as in facexlib's `parsing_bisenet.pth`, and sizes are read from the tensors. Only the main output is
computed; the file's two others serve training. Source: arXiv:1808.00897, and https://github.com/zllrunning/face-parsing.PyTorch,
which trained it on CelebAMask-HQ.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....errors import WrongStructureFileError
from ...identity.adapter_file import AdapterFile

CLASSES = (
    "background",
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "glasses",
    "left ear",
    "right ear",
    "earring",
    "nose",
    "inside of the mouth",
    "upper lip",
    "lower lip",
    "neck",
    "necklace",
    "clothes",
    "hair",
    "hat",
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
STAGES = (1, 2, 3, 4)
TRAINING_ONLY = ("conv_out16.", "conv_out32.")
Sizes = Mapping[str, tuple[int, ...]]


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, into: int, out: int, kernel: int = 3, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Residual(nn.Module):
    def __init__(self, into: int, out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or into != out:
            self.downsample = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class _ResNet18(nn.Module):
    def __init__(self, stem: int, widths: list[int]):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        for stage, into, out in zip(STAGES, [stem, *widths], widths, strict=False):
            first = _Residual(into, out, stride=1 if stage == 1 else 2)
            self.add_module(f"layer{stage}", nn.Sequential(first, _Residual(out, out, 1)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """At an eighth, a sixteenth and a 32nd of the size."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        states = []
        for stage in STAGES:
            x = self.get_submodule(f"layer{stage}")(x)
            states.append(x)
        return states[1:]


class _Refined(nn.Module):
    """Channels weighed by what the whole picture shows."""

    def __init__(self, into: int, out: int):
        super().__init__()
        self.conv = _Conv(into, out)
        self.conv_atten = nn.Conv2d(out, out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(_mean(x))))


class _ContextPath(nn.Module):
    def __init__(self, stem: int, widths: list[int], out: int):
        super().__init__()
        self.resnet = _ResNet18(stem, widths)
        self.arm16, self.arm32 = _Refined(widths[2], out), _Refined(widths[3], out)
        self.conv_head32, self.conv_head16 = _Conv(out, out), _Conv(out, out)
        self.conv_avg = _Conv(widths[3], out, kernel=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Details and context, both at an eighth of the size."""
        eighth, sixteenth, last = self.resnet(x)
        context = self.arm32(last) + self.conv_avg(_mean(last))
        context = self.conv_head32(F.interpolate(context, size=sixteenth.shape[2:]))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(F.interpolate(context, size=eighth.shape[2:]))


class _Fusion(nn.Module):
    def __init__(self, into: int, out: int, narrow: int):
        super().__init__()
        self.convblk = _Conv(into, out, kernel=1)
        self.conv1, self.conv2 = nn.Conv2d(out, narrow, 1, bias=False), nn.Conv2d(narrow, out, 1, bias=False)

    def forward(self, details: Tensor, context: Tensor) -> Tensor:
        x: Tensor = self.convblk(torch.cat([details, context], dim=1))
        return x + x * torch.sigmoid(self.conv2(F.relu(self.conv1(_mean(x)))))


class _Output(nn.Module):
    def __init__(self, into: int, middle: int, classes: int):
        super().__init__()
        self.conv = _Conv(into, middle)
        self.conv_out = nn.Conv2d(middle, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_out(self.conv(x))
        return out


class FaceParsing(nn.Module):
    """RGB pictures [B, 3, H, W] (0-1) to the number of the class of each pixel, int64 [B, H, W]; see CLASSES."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        widths = [sizes[f"cp.resnet.layer{stage}.0.conv1.weight"][0] for stage in STAGES]
        context = sizes["cp.conv_avg.conv.weight"][0]
        fused, middle = sizes["ffm.convblk.conv.weight"][0], sizes["conv_out.conv.conv.weight"][0]
        self.cp = _ContextPath(sizes["cp.resnet.conv1.weight"][0], widths, context)
        self.ffm = _Fusion(widths[1] + context, fused, sizes["ffm.conv1.weight"][0])
        self.conv_out = _Output(fused, middle, sizes["conv_out.conv_out.weight"][0])

    def forward(self, pictures: Tensor) -> Tensor:
        mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (MEAN, STD))
        scores = self.conv_out(self.ffm(*self.cp((pictures - mean) / std)))
        return F.interpolate(scores, size=pictures.shape[2:], mode="bilinear", align_corners=True).argmax(dim=1)

    @classmethod
    def load(cls, path: Path) -> "FaceParsing":
        """From a file such as parsing_bisenet.pth. Raises UnreadableFileError, or WrongStructureFileError when it holds
        something else."""
        file = AdapterFile(path)
        try:
            with torch.device("meta"):
                network = cls({name: file.shape(name) for name in file})
        except KeyError as error:
            raise _other(path, f"it lacks {error}", file) from error
        except (IndexError, ValueError, RuntimeError) as error:
            raise _other(path, f"its tensors have other shapes ({error})", file) from error
        state = {name: file[name] for name in file if not name.startswith(TRAINING_ONLY)}
        file.require_finite(state[name] for name in state if file.is_floating(name))
        try:
            network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise _other(path, str(error).splitlines()[-1].strip(), file) from error
        if network.conv_out.conv_out.out_channels != len(CLASSES):
            raise _other(path, f"it tells {network.conv_out.conv_out.out_channels} classes apart", file)
        return network.float().eval().requires_grad_(False)


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)


def _other(path: Path, why: str, file: AdapterFile) -> WrongStructureFileError:
    held = f"This file holds {len(file)} tensors{': ' + ', '.join(sorted(file)[:4]) + ', …' if len(file) else ''}."
    return WrongStructureFileError(
        f"{path} is not the face-parsing network: {why}.",
        f"BiSeNet on ResNet-18 with {len(CLASSES)} classes is needed (cp.resnet.conv1.weight and so on). {held}",
    )

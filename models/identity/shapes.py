"""Whether the tensors of an adapter file fit each other: each has the shape that is read."""

from .adapter_file import AdapterFile
from .keys_values import count_blocks, matrix_names

IDENTITY_DIM = 512
Dim = int | str  # a number, or the name of a size that is the same wherever it stands


class Shapes:
    """Collects in `wrong` what doesn't fit, "NAME [3, 4], needed [hidden, 512]". Named sizes are learned from the first tensor
    that has them. A tensor that isn't there is passed over."""

    def __init__(self, file: AdapterFile):
        self.file, self.wrong = file, list[str]()
        self.sizes: dict[str, int] = {}

    def need(self, name: str, *dims: Dim) -> None:
        if name not in self.file:
            return
        shape = self.file.shape(name)
        if len(shape) != len(dims) or not all(map(self._fits, dims, shape)):
            needed = ", ".join(f"{dim} = {self.sizes[dim]}" if dim in self.sizes else str(dim) for dim in map(str, dims))
            self.wrong.append(f"{name} {list(shape)}, needed [{needed}]")
        elif not self.file.is_floating(name):
            self.wrong.append(f"{name} with whole or complex numbers, needed floating-point ones")

    def _fits(self, dim: Dim, size: int) -> bool:
        return size > 0 and size == (dim if isinstance(dim, int) else self.sizes.setdefault(dim, size))

    def linear(self, name: str, out: Dim, into: Dim) -> None:
        self.need(f"{name}.weight", out, into)
        self.need(f"{name}.bias", out)

    def norm(self, name: str, dim: Dim) -> None:
        self.need(f"{name}.weight", dim)
        self.need(f"{name}.bias", dim)

    def blocks(self) -> None:
        """Keys and values of each block read tokens of the size "context"."""
        for number, name in enumerate(matrix_names(count_blocks(self.file))):
            self.need(name, f"width of block {number // 2}", "context")

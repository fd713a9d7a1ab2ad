"""The devices that pictures are made on, and their memory."""

import gc
from typing import Any

import torch

# What errors of PyTorch say that have no class of their own, those of cuBLAS and cuDNN among them.
LACKS_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")


def usual_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def devices() -> list[dict[str, Any]]:
    """Name and kind of each, memory in bytes."""
    if not torch.cuda.is_available():
        return [{"name": "cpu", "type": "cpu"}]
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        found.append({"name": name, "type": "cuda", "vram_total": total, "vram_free": free})
    return found


class MemoryMeter:
    """How much memory is in use on a device, in bytes: of a GPU what PyTorch has there; without one, all of this process, as
    far as psutil is there to tell."""

    def __init__(self, device: torch.device):
        self.is_device = device.type == "cuda"
        self._device, self._highest = device, 0
        if self.is_device:
            torch.cuda.reset_peak_memory_stats(device)

    def now(self) -> int | None:
        """None where it isn't known."""
        if self.is_device:
            return torch.cuda.memory_allocated(self._device)
        try:
            import psutil
        except ImportError:
            return None
        used = int(psutil.Process().memory_info().rss)
        self._highest = max(self._highest, used)
        return used

    def highest(self) -> int | None:
        """Of a GPU the most that there ever was since this meter was made; of the process the most that `now` gave."""
        if self.is_device:
            return torch.cuda.max_memory_allocated(self._device)
        self.now()
        return self._highest or None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LACKS_MEMORY)


def make_room() -> None:
    """Give back what no picture needs any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

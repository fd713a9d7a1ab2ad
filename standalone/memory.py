"""The memory of the devices that pictures are made on."""

import gc
from typing import Any

import torch


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "can't allocate memory"))


def make_room() -> None:
    """Give back what no picture needs any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

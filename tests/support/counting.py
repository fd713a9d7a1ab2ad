"""How many operations reach PyTorch's dispatcher, which of them wait for the device, and what is alive afterwards."""

import gc

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Count(TorchDispatchMode):
    """The names of all operations that reach the dispatcher, views included."""

    SYNCS = {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))

    @property
    def syncs(self):
        return sum(name in self.SYNCS for name in self.names)


def counted(calls):
    """(operations, syncs) per call, once warmed up."""
    for call in calls:
        call()
    with torch.inference_mode(False), torch.no_grad(), Count() as count:
        for call in calls:
            call()
    return len(count.names) / len(calls), count.syncs / len(calls)


def live():
    """(number, bytes) of the tensors that are alive."""
    gc.collect()
    storages = [t.untyped_storage() for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter)]
    sizes = {s.data_ptr(): s.nbytes() for s in storages}
    return len(storages), sum(sizes.values())

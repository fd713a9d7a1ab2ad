"""Applies another pack's FaceID-PlusV2 to a model, through the interface of ComfyUI_IPAdapter_plus.

The pack gets the same adapter and the same face; stand-ins hand it the embedding and the CLIP states in place of a
detector and a vision model, which have no part in what is measured.
"""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import torch

KPS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)  # of a 112 px face


def apply(path, model, state, face):
    spec = importlib.util.spec_from_file_location("peer", path / "__init__.py", submodule_search_locations=[str(path)])
    sys.modules["peer"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    module = sys.modules["peer.IPAdapterPlus"]
    hidden = iter((face.clip_hidden, face.clip_hidden_zero))
    module.encode_image_masked = lambda *args, **kwargs: SimpleNamespace(penultimate_hidden_states=next(hidden))
    identity = face.identity[0].numpy()
    found = SimpleNamespace(normed_embedding=identity / np.linalg.norm(identity), embedding=identity, kps=KPS)
    faces = SimpleNamespace(det_model=SimpleNamespace(input_size=None), get=lambda image: [found])
    patched, _ = module.ipadapter_execute(
        model.clone(),
        {**state, "faceidplusv2": True},
        SimpleNamespace(),
        insightface=faces,
        image=torch.rand(1, 112, 112, 3),
        weight=1.0,
        weight_faceidv2=1.0,
    )
    return patched

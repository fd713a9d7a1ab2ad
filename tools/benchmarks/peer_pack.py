"""Applies another pack's method to a model: FaceID-PlusV2 through the interface of ComfyUI_IPAdapter_plus, InstantID through
that of ComfyUI_InstantID.

The pack gets the same adapter and the same face; stand-ins hand it the embedding, the CLIP states and the hint image in place
of a detector and a vision model, which have no part in what is measured.
"""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import torch

KPS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)  # of a 112 px face


def load(path, module):
    spec = importlib.util.spec_from_file_location("peer", path / "__init__.py", submodule_search_locations=[str(path)])
    sys.modules["peer"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    return sys.modules[f"peer.{module}"]


def apply_instantid(path, model, state, face, positive, negative, control_net, hint):
    module = load(path, "InstantID")
    module.extractFeatures = lambda insightface, image, extract_kps=False: hint if extract_kps else face.identity[:, None]
    width = state["ip_adapter"]["1.to_k_ip.weight"].shape[1]
    instantid = module.InstantID(state, cross_attention_dim=1280, output_cross_attention_dim=width)
    node, parts = module.ApplyInstantID(), (instantid, None, control_net, hint, model, positive, negative)
    return node.apply_instantid(*parts, 0.0, 1.0, weight=0.8, noise=0.0)


def apply_faceid(path, model, state, face):
    module = load(path, "IPAdapterPlus")
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

"""A request's values in a workflow that samples with the stock nodes, as one for FLUX does: KSampler with an empty latent.

The texts are found from the sampler's two conditionings, back through nodes that pass one on.
"""

from typing import Any

from ....api.local.backend import BackendError
from ....contract import FaceGenRequest
from .checked import Graph, is_link

KSAMPLER, ENCODE, GUIDANCE, ZERO = "KSampler", "CLIPTextEncode", "FluxGuidance", "ConditioningZeroOut"
LATENTS = ("EmptyLatentImage", "EmptySD3LatentImage", "EmptyHunyuanLatentVideo", "EmptyFlux2LatentImage")
CONDITIONING = "conditioning"  # the input by which nodes pass one on


def fill_stock_sampler(graph: Graph, request: FaceGenRequest, size: tuple[int, int], guidance: float) -> None:
    """Put size, steps, seed and guidance in place. Raises BackendError if the sampler's latent is no empty one."""
    (sampler,) = (node["inputs"] for node in graph.values() if node["class_type"] == KSAMPLER)
    sampler |= {"seed": request.seed, "steps": request.num_inference_steps}
    guidances = [node["inputs"] for node in graph.values() if node["class_type"] == GUIDANCE]
    for node in guidances:
        node["guidance"] = guidance
    if not guidances:
        sampler["cfg"] = guidance
    latent = _before(graph, sampler.get("latent_image"))
    if latent is None or latent["class_type"] not in LATENTS:
        raise BackendError(f"The KSampler of the local API's workflow needs an empty latent: {', '.join(LATENTS)}.")
    latent["inputs"] |= {"width": size[0], "height": size[1], "batch_size": request.samples}


def fill_stock_texts(graph: Graph, request: FaceGenRequest) -> None:
    """Put the prompts in place. A negative conditioning that is the positive one, zeroed, has none. Raises BackendError if the
    positive one isn't a text's."""
    (sampler,) = (node["inputs"] for node in graph.values() if node["class_type"] == KSAMPLER)
    positive = _text(graph, sampler.get("positive"))
    if positive is None:
        raise BackendError(f"The positive conditioning of the local API's workflow has to begin at a {ENCODE} node.")
    positive["text"] = request.prompt
    negative = _text(graph, sampler.get("negative"))
    if negative is not None and negative is not positive:
        negative["text"] = request.negative_prompt


def _text(graph: Graph, link: Any) -> dict[str, Any] | None:
    """The inputs of the text encoder that a conditioning begins at; None where it is zeroed, or begins elsewhere."""
    for _ in graph:
        node = _before(graph, link)
        if node is None or node["class_type"] == ZERO:
            return None
        if node["class_type"] == ENCODE:
            inputs: dict[str, Any] = node["inputs"]
            return inputs
        link = node["inputs"].get(CONDITIONING)
    return None


def _before(graph: Graph, link: Any) -> dict[str, Any] | None:
    return graph.get(link[0]) if is_link(link) else None

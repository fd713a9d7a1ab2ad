"""A request's values in a workflow that samples with the stock nodes, as one for FLUX does: with KSampler, or with
SamplerCustomAdvanced and its noise, scheduler and guider; from an empty latent.

The texts are found from the conditionings, back through nodes that pass one on.
"""

from typing import Any

from ..api.local.backend import BackendError
from ..contract import FaceGenRequest
from .checked import Graph, is_link

KSAMPLER, CUSTOM = SAMPLERS = ("KSampler", "SamplerCustomAdvanced")
ENCODE, GUIDANCE, ZERO = "CLIPTextEncode", "FluxGuidance", "ConditioningZeroOut"
LATENTS = ("EmptyLatentImage", "EmptySD3LatentImage", "EmptyFlux2LatentImage")
CONDITIONING = "conditioning"  # the input by which nodes pass one on


def stock_sampler(graph: Graph) -> str | None:
    """The kind of stock sampler that a workflow has; None without one."""
    kinds = {node["class_type"] for node in graph.values()}
    return next((kind for kind in SAMPLERS if kind in kinds), None)


def fill_stock_sampler(graph: Graph, request: FaceGenRequest, size: tuple[int, int], guidance: float) -> None:
    """Put size, steps, seed and guidance in place. Raises BackendError if the sampler's latent is no empty one, or what
    belongs to it isn't there."""
    sampler = _sampler(graph)
    noise, steps, cfg = (_before(graph, sampler.get(name)) for name in ("noise", "sigmas", "guider"))
    if stock_sampler(graph) == KSAMPLER:
        sampler |= {"seed": request.seed, "steps": request.num_inference_steps}
    elif noise is None or steps is None or "noise_seed" not in noise or "steps" not in steps:
        raise BackendError(f"The {CUSTOM} of the local API's workflow needs a RandomNoise, and a scheduler with steps.")
    else:
        noise["noise_seed"], steps["steps"] = request.seed, request.num_inference_steps
    guidances = [node["inputs"] for node in graph.values() if node["class_type"] == GUIDANCE]
    for node in guidances:
        node["guidance"] = guidance
    guider = sampler if cfg is None else cfg
    if not guidances and "cfg" in guider:
        guider["cfg"] = guidance
    _latent(graph, sampler).update({"width": size[0], "height": size[1], "batch_size": request.samples})


def fill_stock_texts(graph: Graph, request: FaceGenRequest) -> None:
    """Put the prompts in place. A negative conditioning that is the positive one, zeroed, has none. Raises BackendError if the
    positive one isn't a text's."""
    sampler = _sampler(graph)
    guider = _before(graph, sampler.get("guider")) or sampler
    positive = _text(graph, guider.get("positive", guider.get(CONDITIONING)))
    if positive is None:
        raise BackendError(f"The positive conditioning of the local API's workflow has to begin at a {ENCODE} node.")
    positive["text"] = request.prompt
    negative = _text(graph, guider.get("negative"))
    if negative is not None and negative is not positive:
        negative["text"] = request.negative_prompt


def _sampler(graph: Graph) -> dict[str, Any]:
    kind = stock_sampler(graph)
    sampler: dict[str, Any]
    (sampler,) = (node["inputs"] for node in graph.values() if node["class_type"] == kind)
    return sampler


def _latent(graph: Graph, sampler: dict[str, Any]) -> dict[str, Any]:
    latent = _node_before(graph, sampler.get("latent_image"))
    if latent is None or latent["class_type"] not in LATENTS:
        raise BackendError(f"The sampler of the local API's workflow needs an empty latent: {', '.join(LATENTS)}.")
    inputs: dict[str, Any] = latent["inputs"]
    return inputs


def _text(graph: Graph, link: Any) -> dict[str, Any] | None:
    """The inputs of the text encoder that a conditioning begins at; None where it is zeroed, or begins elsewhere."""
    for _ in graph:
        node = _node_before(graph, link)
        if node is None or node["class_type"] == ZERO:
            return None
        inputs: dict[str, Any] = node["inputs"]
        if node["class_type"] == ENCODE:
            return inputs
        link = inputs.get(CONDITIONING)
    return None


def _before(graph: Graph, link: Any) -> dict[str, Any] | None:
    """The inputs of the node that a link comes from."""
    node = _node_before(graph, link)
    return None if node is None else node["inputs"]


def _node_before(graph: Graph, link: Any) -> dict[str, Any] | None:
    return graph.get(link[0]) if is_link(link) else None

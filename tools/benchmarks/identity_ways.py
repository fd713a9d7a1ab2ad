"""The ways that `identity_overhead.py` measures: a network without a face, and with one by each method.

Each function gives (name -> Measured, seconds that applying took by name); the network without a face comes first, the
method's plain face second. Adapters are files with the published tensor names; a network of its published width gets one of
the published sizes.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

AGAIN = "the same face, another setting"


def held(patcher, *more):
    """Bytes of the tensors on the model's device that can be reached from its attention patches and from `more`; each storage
    once."""
    seen, sizes = set(), {}
    todo = [patcher.model_options["transformer_options"].get("patches_replace", {}), list(more)]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            if thing.device.type == patcher.load_device.type:
                storage = thing.untyped_storage()
                sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(thing, dict):
            todo.extend(thing.values())
        elif isinstance(thing, (list, tuple, set)):
            todo.extend(thing)
        elif hasattr(thing, "__dict__"):
            todo.extend(vars(thing).values())
    return sum(sizes.values())


class Measured(NamedTuple):
    """A way to call the model, and all that it holds beside the model's own weights."""

    call: Callable[[], object]
    held: Callable[[], int]


class Clock:
    """Calls a function and keeps how long it took, by name."""

    def __init__(self):
        self.took = {}

    def __call__(self, name, function, *args, **kwargs):
        began = time.perf_counter()
        made = function(*args, **kwargs)
        self.took[name] = time.perf_counter() - began
        return made


def in_dtype(state, dtype):
    """A state dict, nested or flat, in another dtype."""
    return {name: in_dtype(t, dtype) if isinstance(t, dict) else t.to(dtype) for name, t in state.items()}


def _network(options):
    """(model, widths of its cross-attention blocks, what it is called with)."""
    import comfy_unets

    xl, tokens = options.base == "sdxl", options.tokens
    model = (comfy_unets.sdxl if xl else comfy_unets.sd15)(channels=options.channels, dtype=options.dtype)
    widths = [options.channels * m for m in (comfy_unets.XL_MULTIPLIERS if xl else comfy_unets.MULTIPLIERS)]
    if xl:
        return model, widths, comfy_unets.xl_inputs(size=options.size, tokens=tokens)
    return model, widths, comfy_unets.Inputs(*comfy_unets.inputs(size=options.size, tokens=tokens))


def _unet_ways(options, models, given):
    import comfy_unets

    through = partial(torch.compile, backend=options.compile) if options.compile else lambda network: network
    return {
        name: Measured(
            comfy_unets.caller(each, given.x, given.context, y=given.y, through=through),
            partial(held, each),
        )
        for name, each in models.items()
    }


def faceid(options, folder):
    from facegen.models.face.embeds import FaceEmbeds
    from facegen.models.identity.faceid.adapter import FaceIDAdapter
    from facegen.nodes.host.sampling.methods.faceid import apply_faceid
    from faceid_files import faceid_state, save

    model, widths, given = _network(options)
    state = in_dtype(faceid_state(widths, 2048 if options.base == "sdxl" else 768, 1280, rank=1), options.dtype)
    adapter = FaceIDAdapter(save(state, folder / "adapter.safetensors"))
    faces = [FaceEmbeds(torch.randn(1, 512), torch.randn(1, 257, 1280), torch.randn(1, 257, 1280)) for _ in range(2)]
    clock = Clock()
    models = {"plain": model, "FaceID": clock("FaceID", apply_faceid, model, adapter, faces[0], lora_strength=0)}
    clock(AGAIN, apply_faceid, model, adapter, faces[0], lora_strength=0, s_scale=0.5)
    if not options.compile:
        models["FaceID, percent range"] = apply_faceid(model, adapter, faces[0], lora_strength=0, percent_range=(0.0, 0.8))
        models["FaceID, mask"] = apply_faceid(model, adapter, faces[0], lora_strength=0, mask=torch.rand(1, 64, 64))
        models["FaceID, two faces"] = apply_faceid(models["FaceID"], adapter, faces[1], lora_strength=0)
    if options.peer:
        import peer_pack

        models[options.peer.name] = clock(options.peer.name, peer_pack.apply_faceid, options.peer, model, state, faces[0])
    return _unet_ways(options, models, given), clock.took


def instantid(options, folder):
    """The model without a face has a ControlNet as well, which reads the text."""
    import nodes as comfy_nodes

    import instantid_step
    from facegen.models.identity.instantid.adapter import InstantIDAdapter
    from facegen.nodes.host.sampling.methods.instantid import apply_instantid
    from faceid_files import faceid_state, save

    model, widths, given = _network(options)
    state = in_dtype(faceid_state(widths, 2048, rank=0, unnorm=True), options.dtype)
    adapter = InstantIDAdapter(save(state, folder / "instantid.safetensors"))
    control_net = instantid_step.plain_control(options.channels, options.dtype)
    conds, people = instantid_step.prompts(given), [instantid_step.person(seed=seed) for seed in (3, 4)]
    clock = Clock()
    stock = comfy_nodes.ControlNetApplyAdvanced().apply_controlnet
    hint = torch.rand(1, 8 * options.size, 8 * options.size, 3)
    made = {"plain": (model, *stock(*conds, control_net, hint, 0.8, 0.0, 1.0))}
    parts = (*conds, control_net)
    made["InstantID"] = clock("InstantID", apply_instantid, model, adapter, people[0], *parts)
    clock(AGAIN, apply_instantid, model, adapter, people[0], *parts, weight=0.5)
    made["InstantID, percent range"] = apply_instantid(model, adapter, people[0], *parts, percent_range=(0.0, 0.8))
    made["InstantID, mask"] = apply_instantid(model, adapter, people[0], *parts, mask=torch.rand(1, 64, 64))
    first, positive, negative = made["InstantID"]
    made["InstantID, two faces"] = apply_instantid(first, adapter, people[1], positive, negative, control_net)
    if options.peer:
        import peer_pack

        made[options.peer.name] = clock(
            options.peer.name, peer_pack.apply_instantid, options.peer, model, state, people[0], *conds, control_net, hint
        )

    def beside(positive):
        """What a face's ControlNet holds beside the network; for a stock one its hint, which every ControlNet has."""
        control = positive[0][1]["control"]
        return [control.tokens, control._kept] if hasattr(control, "tokens") else []

    return {
        name: Measured(instantid_step.caller(*each, given), lambda each=each: held(each[0], *beside(each[1])))
        for name, each in made.items()
    }, clock.took


def pulid(options, folder):
    """On SDXL or FLUX.1."""
    import pulid_files
    from facegen.models.identity.pulid.adapter import PulidAdapter
    from facegen.nodes.host.sampling.methods.pulid import apply_pulid

    published = options.channels == PULID_CHANNELS[options.base]
    sizes, seen = (pulid_files.PUBLISHED, pulid_files.PUBLISHED_SEEN) if published else ({}, {})
    if options.base == "flux":
        model, ways = _flux(options, published)
        inner = {"inner": pulid_files.PUBLISHED_INNER} if published else {}
        state = pulid_files.flux_state(20, options.channels, **inner, **sizes)
    else:
        model, widths, given = _network(options)
        ways = partial(_unet_ways, options, given=given)
        state = pulid_files.sdxl_state(widths, **{"context_dim": 2048, **sizes})
    adapter = PulidAdapter(pulid_files.save(in_dtype(state, options.dtype), folder / "pulid.safetensors"))
    faces = [pulid_files.seen_faces(seed=seed, **seen) for seed in (3, 4)]
    clock = Clock()
    models = {"plain": model, "PuLID": clock("PuLID", apply_pulid, model, adapter, faces[0])}
    clock(AGAIN, apply_pulid, model, adapter, faces[0], weight=0.5)
    models["PuLID, percent range"] = apply_pulid(model, adapter, faces[0], percent_range=(0.2, 1.0))
    models["PuLID, mask"] = apply_pulid(model, adapter, faces[0], mask=torch.rand(1, 64, 64))
    models["PuLID, two faces"] = apply_pulid(models["PuLID"], adapter, faces[1])
    return ways(models=models), clock.took


def _flux(options, published):
    """(FLUX.1 with all its blocks, models -> their ways)."""
    import comfy_flux

    heads = options.channels // sum(comfy_flux.CONFIG["axes_dim"])
    sizes = {"hidden_size": options.channels, "num_heads": heads, "depth": 19, "depth_single_blocks": 38}
    config = {**comfy_flux.CONFIG, **(comfy_flux.PUBLISHED if published else sizes)}
    model = comfy_flux.flux(dtype=options.dtype, **config)
    x, positive = comfy_flux.latents(size=(options.size, options.size)), comfy_flux.prompt(1, options.tokens, config)

    def ways(models):
        return {name: Measured(comfy_flux.caller(each, x, positive), partial(held, each)) for name, each in models.items()}

    return model, ways


PULID_CHANNELS = {"sdxl": 320, "flux": 3072}  # as published

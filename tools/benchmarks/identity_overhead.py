"""What an identity method adds to one step: tensor operations, device syncs, memory and wall time, in one run.

    COMFYUI_PATH=… <python with ComfyUI's packages> tools/benchmarks/identity_overhead.py [--method METHOD] [--base sdxl]
        [--channels 320] [--size 8] [--repeat 10] [--peer ANOTHER_PACK]

The real topology with random weights, batch 2 (classifier-free guidance), in a real ComfyUI: on a GPU, where there is one,
in fp16 and at 512x512 (SD1.5) or 1024x1024 (SDXL). InstantID is measured over the UNet with the ControlNet that belongs to it,
PuLID over FLUX.1 with all its blocks, `--channels` wide, without guidance.
`--peer` names a checkout with the interface of ComfyUI_IPAdapter_plus, or of ComfyUI_InstantID.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools" / "benchmarks")]
SUPPORT = [str(ROOT / "tests" / "support" / folder) for folder in ("", "comfyui")]
sys.path[:0] = [os.environ["COMFYUI_PATH"], *SUPPORT, str(ROOT / "tools" / "benchmarks")]

import comfy.cli_args  # noqa: E402
import torch  # noqa: E402

from counting import Count  # noqa: E402
from pack import load_pack  # noqa: E402

CUDA = torch.cuda.is_available()
DTYPE = torch.float16 if CUDA else torch.float32
AGAIN = "the same face, another setting"
comfy.cli_args.args.cpu = not CUDA


def count(call):
    """(operations, syncs) of a warmed-up call."""
    call()
    with Count() as counted:
        call()
    return len(counted.names), counted.syncs


def seconds(calls, rounds):
    """Wall times of each call, [rounds] each. The calls take turns, so that a busy machine slows all of them alike."""
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if CUDA:
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    return times


def held(patcher, *more):
    """Bytes of the tensors that can be reached from the model's attention patches, and of `more`, each storage once."""
    seen, sizes = set(), {}
    todo = [patcher.model_options["transformer_options"].get("patches_replace", {}), list(more)]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
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


def faceid(options, folder):
    """name -> Measured, the model without a face first, and how long some of them took to apply."""
    import comfy_unets
    from facegen.models.face.embeds import FaceEmbeds
    from facegen.models.identity.faceid.adapter import FaceIDAdapter
    from facegen.nodes.host.sampling.methods.faceid import apply_faceid
    from faceid_files import faceid_state, save

    xl = options.base == "sdxl"
    model = (comfy_unets.sdxl if xl else comfy_unets.sd15)(channels=options.channels, dtype=DTYPE)
    widths = [options.channels * m for m in (comfy_unets.XL_MULTIPLIERS if xl else comfy_unets.MULTIPLIERS)]
    state = in_dtype(faceid_state(widths, 2048 if xl else 768, 1280, rank=1))
    adapter = FaceIDAdapter(save(state, folder / "adapter.safetensors"))
    faces = [FaceEmbeds(torch.randn(1, 512), torch.randn(1, 257, 1280), torch.randn(1, 257, 1280)) for _ in range(2)]
    clock = Clock()
    models = {"plain": model, "FaceID": clock("FaceID", apply_faceid, model, adapter, faces[0], lora_strength=0)}
    clock(AGAIN, apply_faceid, model, adapter, faces[0], lora_strength=0, s_scale=0.5)
    models["FaceID, percent range"] = apply_faceid(model, adapter, faces[0], lora_strength=0, percent_range=(0.0, 0.8))
    models["FaceID, mask"] = apply_faceid(model, adapter, faces[0], lora_strength=0, mask=torch.rand(1, 64, 64))
    models["FaceID, two faces"] = apply_faceid(models["FaceID"], adapter, faces[1], lora_strength=0)
    if options.peer:
        import peer_pack

        models[options.peer.name] = clock(options.peer.name, peer_pack.apply_faceid, options.peer, model, state, faces[0])
    given = comfy_unets.xl_inputs(size=options.size) if xl else comfy_unets.Inputs(*comfy_unets.inputs(size=options.size))
    calls = {name: comfy_unets.caller(each, given.x, given.context, y=given.y) for name, each in models.items()}
    return {name: Measured(calls[name], partial(held, each)) for name, each in models.items()}, clock.took


def instantid(options, folder):
    """As `faceid`; the model without a face has a ControlNet as well, which reads the text."""
    import nodes as comfy_nodes

    import comfy_unets
    import instantid_step
    from facegen.models.identity.instantid.adapter import InstantIDAdapter
    from facegen.nodes.host.sampling.methods.instantid import apply_instantid
    from faceid_files import faceid_state, save

    model = comfy_unets.sdxl(channels=options.channels, dtype=DTYPE)
    state = in_dtype(faceid_state([options.channels * m for m in comfy_unets.XL_MULTIPLIERS], 2048, rank=0, unnorm=True))
    adapter = InstantIDAdapter(save(state, folder / "instantid.safetensors"))
    control_net = instantid_step.plain_control(options.channels, DTYPE)
    given = comfy_unets.xl_inputs(size=options.size)
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
    """As `faceid`, on FLUX.1."""
    import comfy_flux
    from facegen.models.identity.pulid.adapter import PulidAdapter
    from facegen.nodes.host.sampling.methods.pulid import apply_pulid
    from pulid_files import flux_state, save, seen_faces

    heads = options.channels // sum(comfy_flux.CONFIG["axes_dim"])
    sizes = {"hidden_size": options.channels, "num_heads": heads, "depth": 19, "depth_single_blocks": 38}
    model = comfy_flux.flux(dtype=DTYPE, **sizes)
    state = {name: tensor.to(DTYPE) for name, tensor in flux_state(20, options.channels).items()}
    adapter, faces = PulidAdapter(save(state, folder / "pulid.safetensors")), [seen_faces(seed=seed) for seed in (3, 4)]
    clock = Clock()
    models = {"plain": model, "PuLID": clock("PuLID", apply_pulid, model, adapter, faces[0])}
    clock(AGAIN, apply_pulid, model, adapter, faces[0], weight=0.5)
    models["PuLID, percent range"] = apply_pulid(model, adapter, faces[0], percent_range=(0.2, 1.0))
    models["PuLID, mask"] = apply_pulid(model, adapter, faces[0], mask=torch.rand(1, 64, 64))
    models["PuLID, two faces"] = apply_pulid(models["PuLID"], adapter, faces[1])
    x = comfy_flux.latents(size=(options.size, options.size))
    return {name: Measured(comfy_flux.caller(each, x), partial(held, each)) for name, each in models.items()}, clock.took


def in_dtype(state):
    return {part: {name: t.to(DTYPE) for name, t in tensors.items()} for part, tensors in state.items()}


class Clock:
    """Calls a function and keeps how long it took, by name."""

    def __init__(self):
        self.took = {}

    def __call__(self, name, function, *args, **kwargs):
        began = time.perf_counter()
        made = function(*args, **kwargs)
        self.took[name] = time.perf_counter() - began
        return made


METHODS = {"faceid": faceid, "instantid": instantid, "pulid": pulid}


def report(options, counts, times, memory, applied):
    device = f"{torch.cuda.get_device_name()}, fp16" if CUDA else "CPU, fp32"
    batch = 1 if options.base == "flux" else 2
    shape = f"{options.channels} channels, latent {options.size}x{options.size}, batch {batch}, {options.repeat} rounds"
    lines = [f"{options.base} topology, {shape}, torch {torch.__version__}, {device}"]
    lines.append(f"{'':26}{'operations':>12}{'syncs':>8}{'MB held':>10}{'seconds':>10}{'ratio':>8}{'applied in':>12}")
    for name, (operations, syncs) in counts.items():
        sign, base = ("", (0, 0)) if name == "plain" else ("+", counts["plain"])
        ratio = statistics.median(own / plain for own, plain in zip(times[name], times["plain"], strict=True))
        extra, waits = f"{sign}{operations - base[0]}", f"{sign}{syncs - base[1]}"
        took = f"{applied[name]:.2f} s" if name in applied else ""
        median = statistics.median(times[name])
        lines.append(f"{name:26}{extra:>12}{waits:>8}{memory[name] / 1e6:>10.2f}{median:>10.4f}{ratio:>8.3f}{took:>12}")
    lines.append(f"{AGAIN}: applied in {applied[AGAIN]:.3f} s")
    sys.stdout.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=tuple(METHODS), default="faceid", help="instantid is for sdxl")
    parser.add_argument("--base", choices=("sd15", "sdxl"), default="sd15", help="whose topology")
    parser.add_argument("--channels", type=int, default=320, help="width of the UNet; both have 320")
    parser.add_argument("--size", type=int, help="latent side; default: 8 on a CPU, 64 or 128 on a GPU")
    parser.add_argument("--repeat", type=int, default=10, help="rounds; the ratio is the median over them")
    parser.add_argument("--peer", type=Path, help="checkout of another pack, measured in the same run")
    options = parser.parse_args()
    options.base = {"instantid": "sdxl", "pulid": "flux"}.get(options.method, options.base)
    options.size = options.size or ((64 if options.base == "sd15" else 128) if CUDA else 8)
    load_pack()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, torch.inference_mode():
        ways, applied = METHODS[options.method](options, Path(folder))
        counts = {name: count(way.call) for name, way in ways.items()}
        memory = {name: way.held() for name, way in ways.items()}
        times = seconds({name: way.call for name, way in ways.items()}, options.repeat)
        report(options, counts, times, memory, applied)


if __name__ == "__main__":
    main()

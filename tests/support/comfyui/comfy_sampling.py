"""Sampling with ComfyUI's own samplers and guiders, context windows, and neighbours that behave as well-known packs do."""

import inspect

import comfy.samplers
import pytest
import torch

from faceid_files import random_faces

POSITIVE, NEGATIVE = 11, 12


def face(seed=3, n=1, **kwargs):
    return random_faces(n, clip=None, seed=seed, **kwargs)


def people(n):
    return face(n=n, per_image=True)


def prompt(seed, **extra):
    return [[torch.randn(1, 7, 768, generator=torch.Generator().manual_seed(seed)), extra]]


def guider(model, kind=comfy.samplers.CFGGuider, conds=None, cfg=(3.0,)):
    made = kind(model)
    made.set_conds(*(conds or (prompt(POSITIVE), prompt(NEGATIVE))))
    made.set_cfg(*cfg)
    return made


def sample(guided, steps=2, size=(8, 8), batch=1, sampler="euler", scheduler="normal"):
    noise = torch.randn(batch, 4, *size, generator=torch.Generator().manual_seed(5))
    sigmas = comfy.samplers.calculate_sigmas(guided.model_patcher.get_model_object("model_sampling"), scheduler, steps)
    made = comfy.samplers.sampler_object(sampler)
    return guided.sample(noise, torch.zeros_like(noise), made, sigmas, disable_pbar=True, seed=7)


def windowed(model, length, overlap=0, schedule="standard_static", windows=None, **handler):
    """A clone of the model that samples in ComfyUI's context windows, or in these `windows`, lists of numbers."""
    host = pytest.importorskip("comfy.context_windows")
    known = inspect.signature(host.IndexListContextHandler).parameters
    if missing := [name for name in handler if name not in known]:
        pytest.skip(f"this ComfyUI's context windows have no {', '.join(missing)}")
    if "causal_window_fix" in known:  # an anchor before each window, which is the newest host's default
        handler = {"causal_window_fix": False, **handler}
    schedule = host.get_matching_context_schedule(schedule)
    if windows:
        schedule = host.ContextSchedule("given", lambda *_: windows)
    fuse = host.get_matching_fuse_method(host.ContextFuseMethods.FLAT)
    made = host.IndexListContextHandler(schedule, fuse, context_length=length, context_overlap=overlap, **{"dim": 0, **handler})
    made.set_step = lambda *args, **kwargs: setattr(made, "_step", 0)  # 0.3.64 takes a batch of sigmas for one
    clone = model.clone()
    clone.model_options["context_handler"] = made
    return clone


class RegionalPrompts:
    """Another pack's regions: conditional rows are repeated before cross-attention, and weighed and summed after it.

    contexts   [1, tokens, width] of each region but the first, which has the prompt's own.
    masks      [regions, H, W], 1 in all together.
    together   a row's copies lie side by side; else the chunk is repeated whole.
    published  whether the sides are left where other patches find them.
    """

    def __init__(self, contexts, masks, together=False, published=False):
        self.contexts, self.masks, self.together, self.published, self.calls = contexts, masks, together, published, 0

    def onto(self, model):
        clone = model.clone()
        clone.set_model_attn2_patch(self.before)
        clone.set_model_attn2_output_patch(self.after)
        return clone

    def before(self, n, context, value, options):
        self.calls += 1
        self.sides, self.size = options["cond_or_uncond"], len(n) // len(options["cond_or_uncond"])
        queries, contexts = [], []
        for side, q, c in zip(self.sides, n.split(self.size), context.split(self.size), strict=True):
            if side == 0:
                others = [region.to(c).expand(self.size, -1, -1) for region in self.contexts]
                q, c = torch.stack([q] * len(self.masks)), torch.stack([c, *others])
                q, c = ((t.transpose(0, 1) if self.together else t).flatten(0, 1) for t in (q, c))
            queries.append(q), contexts.append(c)
        if self.published:
            options["cond_or_uncond_couple"] = [s for s in self.sides for _ in range(1 if s else len(self.masks))]
        return torch.cat(queries), torch.cat(contexts), torch.cat(contexts)

    def after(self, out, options):
        size, regions, summed = options["activations_shape"][-2:], len(self.masks), []
        weights = torch.nn.functional.interpolate(self.masks[None], size=size).reshape(regions, 1, -1, 1)
        for side in self.sides:
            rows, out = out.tensor_split([self.size * (1 if side else regions)])
            if side == 0:
                shape = (self.size, regions) if self.together else (regions, self.size)
                each = rows.unflatten(0, shape)
                rows = ((each.transpose(0, 1) if self.together else each) * weights).sum(0)
            summed.append(rows)
        return torch.cat(summed)


def animatediff_windows(model, windows):
    """A clone that samples as AnimateDiff-Evolved does: in windows of its own, which it tells in `ad_params`."""

    def wrapper(executor, inner, conds, x, timestep, options):
        options = {**options, "transformer_options": {**options["transformer_options"], "ad_params": {"sub_idxs": None}}}
        told, total = options["transformer_options"]["ad_params"], [torch.zeros_like(x) for _ in conds]
        counts = torch.zeros(len(x), 1, 1, 1)
        for window in windows:
            told["sub_idxs"] = window
            for whole, part in zip(total, executor(inner, conds, x[window], timestep[window], options), strict=True):
                whole[window] += part
            counts[window] += 1
        return [whole / counts for whole in total]

    clone = model.clone()
    clone.add_wrapper_with_key("calc_cond_batch", "windows", wrapper)
    return clone

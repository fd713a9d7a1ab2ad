"""Which row of a call is which latent of which side: as without whatever makes the rows, or an error in words."""

import inspect

import comfy_extras.nodes_custom_sampler as custom_sampler
import pytest
import torch

import comfy_unets
from comfy_sampling import (
    NEGATIVE,
    POSITIVE,
    RegionalPrompts,
    animatediff_windows,
    guider,
    people,
    prompt,
    sample,
    windowed,
)
from facegen.errors import FaceGenError
from facegen.nodes.host.sampling.windows import Lines, host_window
from faceid_files import relative_error

MASKS = torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(1)).round()  # one for each of four latents
KINDS = {"people": {"faces": people(4)}, "masks": {"mask": MASKS}}
kinds = pytest.mark.parametrize("kind", KINDS)
EQUAL = 1e-5  # batches of another size round a little differently, with a face or without


def halves(regions, size=64):
    """[regions, size, size] masks, side by side."""
    return torch.stack([(torch.arange(size) * regions // size == n).float().expand(size, size) for n in range(regions)])


@kinds
@pytest.mark.parametrize(
    "windows",
    [
        {"length": 2},
        {"length": 3, "overlap": 2},
        {"length": 3, "overlap": 1, "schedule": "looped_uniform", "closed_loop": True},
        {"length": 2, "overlap": 1, "schedule": "standard_uniform", "context_stride": 2},
        {"length": 2, "overlap": 1, "causal_window_fix": True},
        {"length": 2, "windows": [[3, 1], [0, 2]]},
    ],
    ids=["apart", "overlapping", "looped", "strided", "with anchors", "any order"],
)
def test_context_windows(apply, kind, windows):
    """Pictures don't see each other, so windows change nothing."""
    patched = apply(**KINDS[kind])
    expected = sample(guider(patched), batch=4)
    assert relative_error(sample(guider(windowed(patched, **windows)), batch=4), expected) < EQUAL


def test_context_windows_under_dual_cfg(apply):
    dual = (custom_sampler.Guider_DualCFG, (prompt(POSITIVE), prompt(20), prompt(NEGATIVE)), (3.0, 2.0, False))
    patched = apply()
    expected = sample(guider(patched, *dual), batch=4)
    assert relative_error(sample(guider(windowed(patched, 2), *dual), batch=4), expected) < EQUAL


def test_what_a_window_retains_is_the_latent_that_it_is(apply):
    """The host puts latent 0 first into every window, so what comes out for latent 2 is latent 0's picture."""
    kept = windowed(apply(faces=people(4)), 2, windows=[[0, 1], [2, 3]], latent_retain_index_list="0")
    generated = sample(guider(kept), batch=4, steps=1)
    assert relative_error(generated[2], generated[0]) < EQUAL
    assert relative_error(generated[3], generated[0]) > 0.01


@pytest.mark.parametrize(
    ("windows", "white"),
    [([range(8), range(8, 16)], range(8)), ([[12, 13, 14, 15, 0, 1, 2, 3], range(4, 12)], [0, 1, 2, 3, 12, 13, 14, 15])],
    ids=["halves", "looped"],
)
@pytest.mark.parametrize("dim", [2, 3], ids=["height", "width"])
def test_windows_over_the_picture_see_their_own_part_of_the_mask(apply, model, dim, windows, white):
    """One window lies where the mask is white, and one where it is black: each is as if there were no mask, or no face."""
    windows = [list(window) for window in windows]
    size, mask = [8, 8], torch.zeros(1, 64, 64)
    size[dim - 2] = 16
    lines = torch.zeros(16).index_fill(0, torch.tensor(white), 1.0).repeat_interleave(4)
    mask += lines[None, :, None] if dim == 2 else lines
    given, whole, plain = (
        sample(guider(windowed(patched, 8, windows=windows, dim=dim)), size=size)
        for patched in (apply(mask=mask), apply(), model)
    )
    for window, expected in zip(windows, (whole, plain), strict=True):
        at = torch.tensor(window)
        assert torch.equal(given.index_select(dim, at), expected.index_select(dim, at))
    assert relative_error(whole, plain) > 0.01


@kinds
@pytest.mark.parametrize("first", ["face", "windows"])
def test_animatediff_windows(apply, model, kind, first):
    windows = [[0, 1], [1, 2], [2, 3]]
    patched = apply(**KINDS[kind])
    both = (
        animatediff_windows(patched, windows)
        if first == "face"
        else apply(to=animatediff_windows(model, windows), **KINDS[kind])
    )
    assert relative_error(sample(guider(both), batch=4), sample(guider(patched), batch=4)) < EQUAL


@pytest.mark.parametrize("first", ["face", "regions"])
@pytest.mark.parametrize(
    ("regions", "batch", "published"),
    [(2, 1, False), (3, 1, True), (2, 4, True), (3, 4, False)],
    ids=["two", "three, published", "two, batch, published", "three, batch"],
)
def test_regional_prompts(apply, model, first, regions, batch, published):
    """With the same prompt in all regions they change nothing."""
    couple = RegionalPrompts([prompt(POSITIVE)[0][0]] * (regions - 1), halves(regions), published=published)
    settings = {"faces": people(batch), "mask": MASKS[:batch]} if batch > 1 else {}
    patched = apply(**settings)
    both = couple.onto(patched) if first == "face" else apply(to=couple.onto(model), **settings)
    expected = sample(guider(patched), batch=batch)
    assert relative_error(sample(guider(both), batch=batch), expected) < EQUAL
    assert relative_error(sample(guider(couple.onto(model)), batch=batch), expected) > 0.01


@pytest.mark.parametrize("cfg", [(3.0,), (1.0,)], ids=["both sides", "one side"])
def test_rows_that_are_repeated_one_by_one(apply, cfg):
    couple = RegionalPrompts([prompt(POSITIVE)[0][0]], halves(2), together=True)
    patched = apply(faces=people(4))
    given, expected = (sample(guider(m, cfg=cfg), batch=4) for m in (couple.onto(patched), patched))
    assert relative_error(given, expected) < EQUAL


def test_regions_in_regions(apply):
    """Two such packs on one model: the second repeats what the first made."""

    class Inner(RegionalPrompts):
        def before(self, n, context, value, options):
            return n.repeat(2, 1, 1), context.repeat(2, 1, 1), value.repeat(2, 1, 1)

        def after(self, out, options):
            return out.chunk(2)[1]

    outer, inner = RegionalPrompts([prompt(POSITIVE)[0][0]], halves(2)), Inner([], halves(2))
    patched = apply(faces=people(4))
    both = patched.clone()
    both.set_model_attn2_patch(outer.before), both.set_model_attn2_patch(inner.before)
    both.set_model_attn2_output_patch(inner.after), both.set_model_attn2_output_patch(outer.after)
    assert relative_error(sample(guider(both), batch=4), sample(guider(patched), batch=4)) < EQUAL


def test_rows_are_found_out_once(apply):
    """Once for each of the 16 blocks; then nothing is asked, neither of the patch nor of the device."""
    couple = RegionalPrompts([prompt(POSITIVE)[0][0]], halves(2))
    both = couple.onto(apply())
    sample(guider(both), steps=3)
    assert couple.calls == 3 * 16 + 16
    sample(guider(both), steps=3)
    assert couple.calls == 2 * 3 * 16 + 16


def test_a_patch_that_keeps_the_rows_is_called_once_for_each_block(apply):
    calls = []
    patched = apply()
    other = patched.clone()
    other.set_model_attn2_patch(lambda n, context, value, options: (calls.append(1) or n, context, value))
    assert torch.equal(sample(guider(other)), sample(guider(patched)))
    assert len(calls) == 2 * 16


@pytest.mark.parametrize("batch", [1, 2])
def test_rows_in_another_order_are_an_error(apply, batch):
    patched = apply(faces=people(batch))
    patched.set_model_attn2_patch(lambda n, context, value, options: (n.flip(0), context.flip(0), value.flip(0)))
    with pytest.raises(FaceGenError, match=r"changes the order of the latents .* Take that node off"):
        sample(guider(patched), batch=batch)


@pytest.mark.parametrize(
    "change",
    [lambda n: n * 1.5, lambda n: n[:1].expand_as(n), lambda n: n.clone()],
    ids=["scaled", "written over", "copied"],
)
def test_rows_that_are_changed_in_their_places_stay_their_own(apply, change):
    calls = []

    def patch(n, context, value, options):
        calls.append(options["block"])
        return change(n), context, value

    patched = apply(faces=people(2))
    patched.set_model_attn2_patch(patch)
    sample(guider(patched), batch=2, steps=2)
    assert len(calls) == 2 * len(set(calls)), "no call is made for us"


@pytest.mark.parametrize("batch", [1, 2])
def test_rows_that_are_no_copies_are_an_error(apply, batch):
    def mixes(n, context, value, options):
        return torch.cat([n, n.mean(0, keepdim=True)]), torch.cat([context, context[:1]]), torch.cat([value, value[:1]])

    patched = apply()
    patched.set_model_attn2_patch(mixes)
    with pytest.raises(FaceGenError, match=rf"mixes\) turns {2 * batch} latents into {2 * batch + 1} .* Take that node off"):
        sample(guider(patched), batch=batch)


def test_a_call_in_parts_that_nothing_tells_is_an_error(apply):
    """A wrapper that halves the batch, and says no word of it."""

    def wrapper(apply_model, args):
        halves = zip(args["input"].chunk(2), args["timestep"].chunk(2), args["c"]["c_crossattn"].chunk(2), strict=True)
        return torch.cat([apply_model(x, t, **{**args["c"], "c_crossattn": c}) for x, t, c in halves])

    patched = apply()
    patched.set_model_unet_function_wrapper(wrapper)
    with pytest.raises(FaceGenError, match="2 latents came to the model where 4 were to come"):
        sample(guider(patched), batch=2)


def test_a_batch_of_another_size_without_a_guider_is_an_error(apply):
    x, context = comfy_unets.inputs(batch=3)
    with pytest.raises(FaceGenError, match="3 latents came inside the model's attention where 2 were to come"):
        comfy_unets.predict(apply(), x, context)


def test_a_window_with_other_latents_than_it_says_is_an_error(apply):
    """Inside a window of two, a wrapper hands on one."""

    def wrapper(executor, inner, conds, x, timestep, options):
        return [out.repeat(2, 1, 1, 1) for out in executor(inner, conds, x[:1], timestep[:1], options)]

    model = windowed(apply(), 2)
    model.wrappers["calc_cond_batch"] = {"other": [wrapper], **model.wrappers["calc_cond_batch"]}
    with pytest.raises(FaceGenError, match="1 of 4 latents came into a context window of 2"):
        sample(guider(model), batch=4)


@pytest.mark.parametrize("dim", [0, 3])
def test_a_window_is_known_without_a_guider(dim):
    """Then only the window itself says how much there is in all."""
    host = pytest.importorskip("comfy.context_windows")
    told = {"total_frames": 6} if "total_frames" in inspect.signature(host.IndexListContextWindow).parameters else {}
    window = host.IndexListContextWindow([5, 0], dim=dim, **told)
    latents, lines = host_window(window, (2, 4, 8, 2), None, [])
    assert (latents, lines) == (((5, 0), None) if dim == 0 else ((0, 1), Lines(-1, (5, 0), 6)))

"""The whole path in one node: prompt, style and face to pictures."""

from dataclasses import dataclass
from typing import Any

import comfy.samplers
import comfy.utils
import nodes as comfy_nodes
from comfy_api.latest import io
from torch import Tensor

from ..contract import FIELDS
from ..errors import FaceGenError, advise
from ..models.face.analysis import FaceAnalysis
from ..models.face.embeds import FaceEmbeds
from ..models.identity.faceid.adapter import FaceIDAdapter
from ..models.identity.instantid.adapter import InstantIDAdapter
from ..models.safety.checking import SafetyChecker
from ..models.style import PLAIN, FaceStyle
from .faceid import APPLY_CURES as FACEID_CURES
from .host import types
from .host.best_of import Latent, best_of
from .host.cures import CHECKER, FACE_PACK, PICTURES
from .host.reports import warn
from .host.safe_output import hide_unsafe, without_previews
from .host.sampling.methods.faceid import apply_faceid
from .host.sampling.methods.instantid import CONTROL_STRENGTH, apply_instantid
from .host.schema import ADVANCED, newer
from .host.widgets import S_SCALE, widget
from .instantid import APPLY_CURES as INSTANTID_CURES

OTHER_PROMPT = "(if empty, Face Style's)"  # shown over the text by Nodes 2.0, and by the canvas in an empty one


class FaceGenSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenSampler",
            display_name="Face Portrait Sampler (FaceGen)",
            category="FaceGen",
            description="Generates portraits of a person: encodes prompt and style, applies FaceID or InstantID, samples and "
            "decodes. For full control, use Apply FaceID or Apply InstantID with the stock nodes instead.",
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5 or SDXL model that fits the FaceID file; for InstantID, SDXL."),
                io.Clip.Input("clip", tooltip="The checkpoint's text encoder."),
                io.Vae.Input("vae", tooltip="The checkpoint's VAE."),
                io.MultiType.Input(
                    "faceid",
                    [types.FaceID, types.InstantID],
                    tooltip="From Load FaceID; or from Load InstantID, which needs an SDXL model and control_net.",
                ),
                types.FaceEmbeds.Input("face_embeds", tooltip="From Embed Face."),
                types.FaceStyle.Input(
                    "style",
                    optional=True,
                    tooltip="From Face Style: its template, FaceID weight and layer weights are used.",
                ),
                io.String.Input(
                    "prompt",
                    display_name=f"prompt {OTHER_PROMPT}",
                    placeholder=f"prompt {OTHER_PROMPT}",
                    multiline=True,
                    dynamic_prompts=True,
                    **widget(
                        "prompt",
                        default="",
                        tooltip="What the picture should show. Left empty, the prompt typed into Face Style is used.",
                    ),
                ),
                io.String.Input(
                    "negative_prompt",
                    display_name=f"negative_prompt {OTHER_PROMPT}",
                    placeholder=f"negative_prompt {OTHER_PROMPT}",
                    multiline=True,
                    dynamic_prompts=True,
                    **widget("negative_prompt", tooltip="What it should not show. Left empty, Face Style's is used."),
                ),
                io.Float.Input(
                    "s_scale",
                    **widget("s_scale", step=0.01, tooltip=S_SCALE),
                ),
                io.Float.Input(
                    "faceid_weight",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.01,
                    tooltip="How strongly the person shows; multiplied by the style's own weight. Usual for InstantID: 0.8.",
                ),
                io.Int.Input("width", **widget("width", max=8192, tooltip="In pixels; unused with a latent.")),
                io.Int.Input("height", **widget("height", max=8192, tooltip="In pixels; unused with a latent.")),
                io.Int.Input("samples", **widget("samples", max=64, tooltip="How many pictures to generate, as one batch.")),
                io.Int.Input(
                    "num_inference_steps",
                    **widget("num_inference_steps", min=1, max=200, tooltip="Denoising steps. Usual: 21 to 41."),
                ),
                io.Float.Input(
                    "guidance_scale",
                    **widget(
                        "guidance_scale",
                        max=100.0,
                        step=0.1,
                        tooltip="Scale of classifier-free guidance (cfg): how literally the prompt is taken.",
                    ),
                ),
                io.Int.Input(
                    "seed",
                    control_after_generate=True,
                    **widget("seed", default=0, tooltip="Seed of the noise."),
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.KSampler.SAMPLERS,
                    default="dpmpp_2m",
                    tooltip="Sampler.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    default="karras",
                    tooltip="Scheduler.",
                    **ADVANCED,
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Start from this instead of an empty picture: image to image, inpainting.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="With a latent: how much of it is generated anew. 1 keeps nothing.",
                    **ADVANCED,
                ),
                types.FaceAnalysis.Input(
                    "face_analysis",
                    optional=True,
                    tooltip="From Load Face Analyzer: judges the candidates.",
                ),
                io.Int.Input(
                    "candidates",
                    optional=True,  # graphs saved before there were candidates lack it
                    default=1,
                    min=1,
                    max=256,
                    tooltip="How many pictures to generate. The samples most like the person are kept.",
                    **ADVANCED,
                ),
                types.SafetyChecker.Input(
                    "safety_checker",
                    optional=True,
                    tooltip="From Load Safety Checker: unsafe pictures, their latents and their previews never leave this "
                    "node.",
                ),
                io.Combo.Input(
                    "safety_checker_type",
                    optional=True,
                    **widget("safety_checker_type", tooltip="With a safety checker: what replaces an unsafe picture."),
                    **ADVANCED,
                ),
                io.ControlNet.Input(
                    "control_net", optional=True, tooltip="For InstantID: its own ControlNet, from Load ControlNet Model."
                ),
                io.Image.Input(
                    "keypoints",
                    optional=True,
                    tooltip="For InstantID, from Face Keypoints: where the face is to be. Left out: where it is in its photo.",
                ),
                io.Float.Input(
                    "control_strength",
                    optional=True,
                    default=CONTROL_STRENGTH,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="For InstantID: strength of its ControlNet.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The pictures, one batch."),
                io.Latent.Output(display_name="latent", tooltip="The same before decoding."),
            ],
            **newer(
                search="portrait, headshot, avatar, face id, faceid, ipadapter, instantid, pulid, reactor, "
                "consistent character, photo of me, ksampler",
                essentials="Image Generation",
            ),
        )

    @classmethod
    def execute(cls, faceid: FaceIDAdapter | InstantIDAdapter, **inputs: Any) -> io.NodeOutput:
        cures = INSTANTID_CURES if isinstance(faceid, InstantIDAdapter) else FACEID_CURES
        with advise("Face Portrait Sampler", {**cures, **FACE_PACK, **PICTURES, **CHECKER}):
            return _generate(faceid, **inputs)


def _generate(
    faceid: FaceIDAdapter | InstantIDAdapter,
    model: Any,
    clip: Any,
    vae: Any,
    face_embeds: FaceEmbeds,
    prompt: str,
    negative_prompt: str,
    s_scale: float,
    faceid_weight: float,
    seed: int,
    candidates: int = 1,
    style: FaceStyle = PLAIN,
    face_analysis: FaceAnalysis | None = None,
    safety_checker: SafetyChecker | None = None,
    safety_checker_type: str = FIELDS["safety_checker_type"].default,
    control_net: Any = None,
    keypoints: Tensor | None = None,
    control_strength: float = CONTROL_STRENGTH,
    **sampling: Any,
) -> io.NodeOutput:
    encode = comfy_nodes.CLIPTextEncode().encode
    (positive,) = encode(clip, style.positive(prompt))
    (negative,) = encode(clip, style.negative_prompt(negative_prompt))
    acts: dict[str, Any] = {"weight": faceid_weight * style.weight, "layer_weights": style.layer_weights}
    if isinstance(faceid, InstantIDAdapter):
        acts |= {"control_net": control_net, "keypoints": keypoints, "control_strength": control_strength}
        patched, positive, negative = _with_instantid(model, faceid, face_embeds, positive, negative, s_scale, **acts)
    else:
        patched = apply_faceid(model, faceid, face_embeds, s_scale=s_scale, **acts)
    if safety_checker is not None:
        patched = without_previews(patched)

    def generate(round_seed: int) -> tuple[Tensor, Latent]:
        generated = Sampling(**sampling).sample(patched, positive, negative, round_seed)
        images = comfy_nodes.VAEDecode().decode(vae, generated)[0]
        if safety_checker is None:
            return images, generated
        # Before the choice: a hidden picture shows no face, so a safe one is preferred.
        return hide_unsafe(images, generated, safety_checker, safety_checker_type)

    images, generated, shown = best_of(generate, seed, candidates, face_analysis, face_embeds)
    return io.NodeOutput(images, generated, ui=shown)


def _with_instantid(
    model: Any, instantid: InstantIDAdapter, face_embeds: FaceEmbeds, positive: Any, negative: Any, s_scale: float, **acts: Any
) -> tuple[Any, Any, Any]:
    if acts["control_net"] is None:
        raise FaceGenError("InstantID needs its ControlNet: connect Load ControlNet Model to control_net.")
    if s_scale != 1:
        warn(f"s_scale {s_scale:g} has no effect: InstantID ({instantid.file.path.name}) has no structure branch to scale.")
    return apply_instantid(model, instantid, face_embeds, positive, negative, **acts)


@dataclass(frozen=True)
class Sampling:
    """The node's inputs that say how one round is sampled."""

    width: int
    height: int
    samples: int
    num_inference_steps: int
    guidance_scale: float
    sampler_name: str
    scheduler: str
    denoise: float
    latent: Latent | None = None

    def sample(self, model: Any, positive: Any, negative: Any, seed: int) -> Latent:
        """The latents of one round, by ComfyUI's own sampler."""
        steps, guidance, start = self.num_inference_steps, self.guidance_scale, self.start()
        names = self.sampler_name, self.scheduler
        sampled = comfy_nodes.common_ksampler(model, seed, steps, guidance, *names, positive, negative, start, self.denoise)
        generated: Latent = sampled[0]
        return generated

    def start(self) -> Latent:
        """An empty batch of `samples` pictures, or the given latent, one picture of which is repeated `samples` times."""
        started: Latent
        if self.latent is None:
            (started,) = comfy_nodes.EmptyLatentImage().generate(self.width, self.height, self.samples)
            return started
        if self.latent["samples"].shape[0] == 1 and self.samples > 1:
            (started,) = comfy_nodes.RepeatLatentBatch().repeat(self.latent, self.samples)
            return started
        return self.latent


NODES = [FaceGenSampler]

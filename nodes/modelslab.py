"""The hosted Face Generator as a node: optional, and the only one that sends something away."""

import asyncio
import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..api.hosted import profiles
from ..contract import ENDPOINT_NAMES, FACE_GEN, ContractError, FaceGenRequest
from ..errors import Cures, FaceGenError, advise, printable
from ..models.pictures import require_rgb
from .host.background_loop import OwnLoop
from .host.cures import PICTURES
from .host.folders import modelslab_file
from .host.reports import show_progress, warn
from .host.schema import ADVANCED, newer
from .host.widgets import widest, widget

if TYPE_CHECKING:  # what only a run needs is imported by the run
    from ..api.hosted.client import Progress, Result
    from ..contract import Endpoint

WHO = "ModelsLab Face Generator"
LOOK = 0.1  # seconds between two looks at ComfyUI's cancel button


class FaceGenModelsLab(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceGenModelsLab",
            display_name="ModelsLab Face Generator (FaceGen)",
            category="FaceGen/remote",
            description="Generates portraits with the hosted Face Generator. The photo of the face and the prompts leave this "
            "machine, and each request is billed to your account there. It needs your own API key and sends nothing without "
            "one.",
            inputs=[
                io.String.Input("prompt", multiline=True, dynamic_prompts=True, **widget("prompt", default="")),
                io.Image.Input(
                    "face_image",
                    tooltip="One photo of the face, clear and visible down to the shoulders. It is sent to the service, as a "
                    "new JPEG of at most 2048 pixels, without the file's metadata.",
                ),
                io.String.Input("negative_prompt", multiline=True, dynamic_prompts=True, **widget("negative_prompt")),
                io.Int.Input("width", **widget("width", **widest("width"))),
                io.Int.Input("height", **widget("height", **widest("height"))),
                io.Int.Input(
                    "num_inference_steps",
                    **widget("num_inference_steps", **widest("num_inference_steps"), step=10),
                ),
                io.Float.Input("guidance_scale", **widget("guidance_scale", step=0.1)),
                io.Combo.Input("style", **widget("style")),
                io.Float.Input("s_scale", **widget("s_scale", step=0.01)),
                io.Int.Input("samples", **widget("samples")),
                io.Boolean.Input("safety_checker", **widget("safety_checker")),
                io.Combo.Input(
                    "safety_checker_type",
                    **widget("safety_checker_type"),
                    **ADVANCED,
                ),
                io.Boolean.Input(
                    "base64",
                    **widget(
                        "base64",
                        default=True,
                        tooltip="The service wants this on if the photo is sent as base64, which this node does. The pictures "
                        "then come back in the answer. Off: as links, from which they are fetched.",
                    ),
                    **ADVANCED,
                ),
                io.Int.Input(
                    "seed",
                    control_after_generate=True,
                    **widget(
                        "seed",
                        default=0,
                        tooltip="Seed of the noise. For a different picture each time, set control after generate to "
                        "randomize.",
                    ),
                ),
                io.String.Input(
                    "webhook",
                    optional=True,
                    **widget("webhook", default=""),
                    **ADVANCED,
                ),
                io.String.Input(
                    "track_id",
                    optional=True,
                    **widget("track_id", default=""),
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "profile",
                    options=profiles.names(modelslab_file()),
                    default=profiles.DEFAULT,
                    tooltip=f"Which key and server to use. default is the key in {profiles.KEY_VARIABLE}; others are in "
                    "user/facegen/modelslab.json. The key itself is never in the workflow.",
                ),
                io.Int.Input(
                    "timeout",
                    default=300,
                    min=10,
                    max=3600,
                    tooltip="Seconds until the node gives up waiting. A request that was begun can be fetched later by its "
                    "request_id.",
                    **ADVANCED,
                ),
                io.String.Input(
                    "request_id",
                    default="",
                    optional=True,
                    tooltip="Id of an earlier request: its pictures are fetched, nothing is sent or billed, and the other "
                    "fields are not used. Empty for a new request.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "endpoint",
                    options=list(ENDPOINT_NAMES),
                    default=FACE_GEN,
                    optional=True,
                    tooltip="Which of the service's generators to use: face_gen has styles, head_shot makes photographs "
                    "without one, flux_headshot uses FLUX, without style and s_scale. Each has its own ranges.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The pictures, one batch."),
                io.String.Output(display_name="response", tooltip="The service's answer as JSON, without key and pictures."),
            ],
            **newer(
                search="face_gen, face gen api, hosted, stable diffusion api, portrait, headshot, avatar",
                price="billed by ModelsLab",
            ),
        )

    @classmethod
    def validate_inputs(cls, profile: str | None = None) -> bool | str:
        """Instead of ComfyUI's own check of the combo: this one says how to configure a key."""
        if profile is None:
            return True  # comes from another node
        try:
            profiles.load(profile, modelslab_file())
        except profiles.ProfileError as error:
            return f"{WHO}: {error}"
        return True

    @classmethod
    async def execute(
        cls,
        face_image: Tensor,
        profile: str,
        timeout: int,
        request_id: str = "",
        webhook: str = "",
        track_id: str = "",
        endpoint: str = FACE_GEN,
        **fields: Any,
    ) -> io.NodeOutput:
        from ..api.hosted.client import FaceGenClient
        from ..api.hosted.refusals import MayBeBilledError, NotFetchedError, RefusedPhotoError, RemoteError

        try:
            settings = profiles.load(profile, modelslab_file())
            client = FaceGenClient(settings, timeout, _tell_id)
            if request_id.strip():
                work = client.fetch(request_id.strip(), endpoint)
            else:
                fields |= {"webhook": webhook.strip() or None, "track_id": track_id.strip() or None}
                request = _request(settings.endpoint(endpoint), face_image, **fields)
                work = client.generate(request)
            result = await _interruptible(work, client.progress)
        except (RemoteError, profiles.ProfileError, ContractError) as error:
            cures: Cures = {
                RefusedPhotoError: "Connect such a photo to face_image; the Face Quality node checks it.",
                MayBeBilledError: "To fetch them, set request_id to that id and queue again.",
                NotFetchedError: f"Set request_id to {printable(getattr(error, 'request_id', ''))} and queue again.",
            }
            with advise(WHO, cures):
                raise
        return io.NodeOutput(torch.from_numpy(result.pictures), json.dumps(result.response, indent=2, ensure_ascii=False))


def _request(endpoint: "Endpoint", face_image: Tensor, **fields: Any) -> FaceGenRequest:
    """The request, without what the endpoint doesn't know."""
    from ..api.hosted.face_photo import to_data_uri

    with advise(WHO, PICTURES):
        require_rgb(face_image)
    if len(face_image) != 1:
        raise FaceGenError(
            f"{WHO} sends one photo, and face_image holds {len(face_image)}. Choose one with an Image From Batch node."
        )
    pixels = (face_image[0].clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()
    known = {name: value for name, value in fields.items() if name in endpoint.fields}
    return endpoint.request(face_image=to_data_uri(pixels), **known)


def _tell_id(request_id: int | str) -> None:
    request_id = printable(request_id)
    warn(f"{WHO} took request {request_id}; should it get lost, request_id {request_id} fetches it without paying again.")


async def _interruptible(work: "Coroutine[Any, Any, Result]", progress: "Progress") -> "Result":
    """The result of `work`, which ends when ComfyUI's cancel button is pressed; meanwhile the node shows how it stands."""
    running, shown = OwnLoop(work), ""
    try:
        while not running.done:
            if comfy.model_management.processing_interrupted():
                if progress.sending and progress.request_id is None:
                    warn(f"{WHO} was stopped while its request was under way: it may have been billed.")
                comfy.model_management.throw_exception_if_processing_interrupted()
            if str(progress) != shown:
                shown = str(progress)
                show_progress(shown)
            await asyncio.sleep(LOOK)
        result: Result = running.result()
        return result
    finally:
        running.cancel()


NODES = [FaceGenModelsLab]

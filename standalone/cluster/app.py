"""The Ray Serve application: how many replicas there may be, and what each gets.

`build` is what a configuration file of `serve deploy` and of KubeRay names as `import_path`, with facegen.py's folder on
PYTHONPATH: see serve.yaml beside this file.
"""

from dataclasses import fields
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from ...errors import FaceGenError
from .replica import EngineReplica, Load
from .scale import Scale

NAME, DEPLOYMENT = "facegen", "Engine"
LOOK = 0.1  # seconds at most until a front that has something waiting sees that a replica is free; Ray's own are 0.5


def build(arguments: dict[str, Any]) -> Application:
    """The application for the `args` of a configuration file, which are Scale's fields. Raises FaceGenError."""
    known = {field.name for field in fields(Scale)}
    if unknown := set(arguments) - known:
        raise FaceGenError(f"args has {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}.")
    return application(Scale(**arguments))


def application(scale: Scale, load: Load | None = None) -> Application:
    """`load` opens a replica's engine; None: the pack's own."""
    deployment = serve.deployment(
        EngineReplica,
        name=DEPLOYMENT,
        max_ongoing_requests=scale.ongoing,
        max_queued_requests=scale.max_queued,
        request_router_config=RequestRouterConfig(max_backoff_s=LOOK),
        autoscaling_config={
            "min_replicas": scale.least,
            "initial_replicas": max(1, scale.least),
            "max_replicas": scale.most,
            "target_ongoing_requests": 1,
            "upscale_delay_s": scale.up_seconds,
            "downscale_delay_s": scale.down_seconds,
        },
        ray_actor_options={"num_gpus": scale.gpus, "num_cpus": scale.cpus},
        graceful_shutdown_timeout_s=scale.drain_seconds,
    )
    with_arguments = deployment.bind  # written with its arguments, the registry's scanner takes it for a socket's
    return with_arguments(scale.models or None, load)

"""Reaching Ray, and having the application there."""

import os
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from ...errors import FaceGenError
from .app import NAME, application
from .replica import Load
from .scale import Scale

LOCAL = "local"
IMPORT_PATH = Path(__file__).resolve().parent / "import_path"
LOCAL_MEMORY = 200_000_000  # bytes that Ray keeps for what goes between processes of one machine: photos and pictures
JOIN = (
    "This machine has to belong to Ray: run `ray start --address HEAD:6379 --num-cpus 0 --num-gpus 0` on it, and give 'auto'."
)
NO_RAY = f"Ray can't be reached at {{}}: {{}}. {JOIN} Or give 'local', which starts one here."


def reach(address: str, cpus: int | None = None) -> None:
    """Join the Ray at an address, or start one on this machine alone. Raises FaceGenError."""
    if "://" in address:
        raise FaceGenError(f"{address} is for Ray's client, which the pack doesn't use. {JOIN}")
    if ray.is_initialized():
        return
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, (str(IMPORT_PATH), os.environ.get("PYTHONPATH"))))}
    # The address is given for 'local', too: without one, Ray joins that of RAY_ADDRESS or the last that was started here.
    how: dict[str, Any] = {"address": address, "runtime_env": {"env_vars": environment}}
    how |= {"log_to_driver": False, "logging_level": "warning"}
    if address == LOCAL:
        how |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": LOCAL_MEMORY}
    try:
        ray.init(**how)
    except (ConnectionError, ValueError, RuntimeError, OSError, RayError) as error:
        raise FaceGenError(NO_RAY.format(address, error)) from error


def deployed(scale: Scale, again: bool, load: Load | None = None) -> "DeploymentHandle[Any]":
    """The handle of the application: deployed as `scale` says, unless it is there and needn't be deployed `again`. Raises
    FaceGenError."""
    serve.start(proxy_location="Disabled")  # HTTP is the front's
    if not again and NAME in serve.status().applications:
        return serve.get_app_handle(NAME)
    try:
        return serve.run(application(scale, load), name=NAME, route_prefix=None)
    except RuntimeError as error:
        raise FaceGenError(f"Ray could not deploy {NAME}: {error}") from error


def leave(address: str) -> None:
    """Let go of Ray. One that was started here ends; at another one the application stays, for other fronts."""
    if not ray.is_initialized():  # to ask Ray Serve would start one
        return
    if address == LOCAL:
        serve.shutdown()
    ray.shutdown()

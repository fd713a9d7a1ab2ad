"""How many engines there may be, and what each of them gets."""

from dataclasses import dataclass

from ...errors import FaceGenError


@dataclass(frozen=True)
class Scale:
    """models: the models folder, on each machine under the same path, or "" for the tiny model. gpus, cpus: of each replica,
    gpus may be a part of one. least, most: replicas; with 0 there is none while nothing is asked, and the first request waits
    for models to be loaded. ongoing: requests that a replica has at once, of which it makes one. max_queued: requests that may
    wait at each front. up_seconds, down_seconds: how long more or fewer replicas must have been right before that is done.
    """

    models: str = ""
    gpus: float = 1.0
    cpus: float = 1.0
    least: int = 1
    most: int = 1
    ongoing: int = 1
    max_queued: int = 100
    up_seconds: float = 5.0
    down_seconds: float = 300.0
    drain_seconds: float = 120.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most or self.most < 1:
            raise FaceGenError(f"There can't be from {self.least} to {self.most} replicas.")
        if self.ongoing < 1 or self.max_queued < 1:
            raise FaceGenError(f"ongoing is {self.ongoing} and max_queued {self.max_queued}; both must be 1 or more.")

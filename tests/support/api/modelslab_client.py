"""The client as tests use it against the loopback server: quick, and with the server's key."""

import asyncio

import numpy as np

from facegen.api.download import Limits
from facegen.api.hosted import face_photo
from facegen.api.hosted.client import FaceGenClient, Pace
from facegen.api.hosted.profiles import Profile
from modelslab_server import KEY

FACE = face_photo.to_data_uri(np.full((64, 64, 3), 90, np.uint8))
QUICK = Pace(first=0.02, longest=0.05, least=0.01, longest_eta=0.5)


def request(family="v6", endpoint="face_gen", **changes):
    known = profile("https://x.example", family=family).endpoint(endpoint)
    return known.request(prompt="a woman", face_image=FACE, base64=True, **changes)


def profile(url, key=KEY, family="v6"):
    return Profile("test", key, family, url, "the test")


def client(service, seconds=30.0, key=KEY, url=None, family="v6", ids=None, **more):
    told = [] if ids is None else ids
    return FaceGenClient(
        profile(url or service.url, key, family),
        seconds,
        told.append,
        QUICK,
        Limits(seconds=getattr(service, "patience", 30), bytes=1 << 20),
        **more,
    )


def generate(service, seconds=30.0, url=None, key=KEY, family="v6", ids=None, **changes):
    return asyncio.run(client(service, seconds, key, url, family, ids).generate(request(family, **changes)))


def is_colour(picture, colour):
    return np.abs(picture - np.float32(colour) / 255).max() < 0.02

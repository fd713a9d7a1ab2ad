"""The client as tests use it against the loopback server: quick, and with the server's key."""

import asyncio

import numpy as np

from facegen.api.download import Limits
from facegen.api.hosted import face_photo
from facegen.api.hosted.client import FaceGenClient, Pace
from facegen.api.hosted.profiles import Profile
from facegen.contract import FaceGenRequest
from modelslab_server import KEY

FACE = face_photo.to_data_uri(np.full((64, 64, 3), 90, np.uint8))
QUICK = Pace(first=0.02, longest=0.05, least=0.01, longest_eta=0.5)


def request(**changes):
    return FaceGenRequest(prompt="a woman", face_image=FACE, base64=True, **changes)


def client(service, seconds=5.0, key=KEY, url=None, family="v6", ids=None, **more):
    profile = Profile("test", key, family, url or service.url, "the test")
    told = [] if ids is None else ids
    return FaceGenClient(
        profile, seconds, told.append, QUICK, Limits(seconds=getattr(service, "patience", 10), bytes=1 << 20), **more
    )


def generate(service, seconds=5.0, url=None, key=KEY, family="v6", ids=None, **changes):
    return asyncio.run(client(service, seconds, key, url, family, ids).generate(request(**changes)))


def is_colour(picture, colour):
    return np.abs(picture - np.float32(colour) / 255).max() < 0.02

"""What goes wrong and a user reads is a FaceGenError, so that nodes and commands can add their advice to it."""

import pytest

from facegen.api.download import DownloadError, RefusedURL
from facegen.api.hosted.profiles import ProfileError
from facegen.api.hosted.refusals import MayBeBilledError, NotFetchedError, RefusedPhotoError, RemoteError
from facegen.api.local.backend import BackendError
from facegen.api.local.config_values import ConfigError
from facegen.api.local.routes.access import Refused
from facegen.api.local.runner import Full
from facegen.api.local.store.database import StoreError
from facegen.api.response import ResponseError
from facegen.contract import ContractError, FaceGenRequest
from facegen.errors import FaceGenError, advise
from facegen.picture_file import PictureError
from pack import ROOT

ERRORS = (DownloadError, RefusedURL, PictureError, ResponseError, ContractError)
HOSTED = (ProfileError, RemoteError, MayBeBilledError, RefusedPhotoError, NotFetchedError)
LOCAL = (ConfigError, StoreError, BackendError)


@pytest.mark.parametrize("kind", [*ERRORS, *HOSTED, *LOCAL, Full, Refused])
def test_it_is_one(kind):
    assert issubclass(kind, FaceGenError)


def test_advice_keeps_what_an_error_knows():
    with pytest.raises(ContractError) as error, advise("The node", {ContractError: "Change it."}):
        FaceGenRequest("", "x")
    assert str(error.value) == "The node: The prompt field is required. Change it." and list(error.value.errors) == ["prompt"]
    with pytest.raises(RemoteError) as error, advise("The node"):
        raise NotFetchedError("Not here.", 7)
    assert str(error.value) == "The node: Not here." and error.value.request_id == 7


def test_nothing_here_knows_comfyui_or_its_nodes():
    """Beside the pack's own name."""
    words = ("ComfyUI", "Embed Face", "Face Quality", "press R", "queue again", "Preview Image", "Load Image")
    found = {}
    for file in (ROOT / "api").rglob("*.py"):
        text = file.read_text(encoding="utf-8").replace("ComfyUI-FaceGen", "")
        found[file.name] = [word for word in words if word in text]
    assert {name: said for name, said in found.items() if said} == {}

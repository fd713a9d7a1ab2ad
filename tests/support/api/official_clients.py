"""Whatever serves the local API, by the clients that were written for the hosted service.

The official Python SDK, modelslab-py, is used as it is. The official JavaScript SDK can't be: its documentation says `npm
install modelslab`, and npm has no package of that name (404, asked on 28 November 2026); its source, ModelsLab/modelslab-js on
GitHub, holds no built files. Were it installed, its ImageEditing would still write the hosted service's address into its
constructor, with no argument for another. So polling_client.mjs makes the calls that its source makes: the key as a Bearer
header and in the body, an exception for any answer but 2xx, up to ten fetches two seconds apart.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

POLLING_CLIENT = Path(__file__).with_name("polling_client.mjs")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")

SEEN = {"safety_checker_type": "blur"}  # the SDK sends no seed, and what NudeNet takes a drawing for would be black


def image_editing(api, enterprise, key="any-text-at-all"):
    """modelslab-py's, told that the service is at `api`."""
    from modelslab_py.core.apis.image_editing import Image_editing
    from modelslab_py.core.client import Client

    client = Client(key)
    client.base_url = f"{api}/"
    return Image_editing(client, enterprise=enterprise)


def portraits_by_the_python_sdk(api, face, enterprise, **size):
    """The answer for two of a sailor, which says what it made of the SDK's defaults, and that a fetch repeats."""
    from modelslab_py.schemas.image_editing import FacegenSchema

    editing = image_editing(api, enterprise)
    answer = editing.facegen(FacegenSchema(prompt="a sailor", face_image=face, samples=2, **SEEN, **size))
    assert answer["status"] == "success", answer
    # The SDK's own defaults are outside the contract.
    assert "num_inference_steps was 20, which" in answer["tip"] and "s_scale was 7.5, which" in answer["tip"]
    assert answer["meta"]["s_scale"] == 1.0 and answer["meta"]["num_inference_steps"] == 31
    assert answer["meta"]["style"] == "realistic" and editing.fetch(str(answer["id"])) == answer
    return answer


def head_shot_by_the_python_sdk(api, face, enterprise, **size):
    """The answer; flux_headshot is refused in words where nothing makes it."""
    from modelslab_py.schemas.image_editing import FluxHeadshotSchema, HeadshotSchema

    editing = image_editing(api, enterprise)
    answer = editing.headshot(HeadshotSchema(prompt="a sailor", face_image=face, **SEEN, **size))
    assert answer["status"] == "success", answer
    assert "style" not in answer["meta"] and answer["meta"]["guidance_scale"] == 5.0
    refused = editing.flux_headshot(FluxHeadshotSchema(prompt="a sailor", face_image=face))
    assert refused["status"] == "error" and "needs a flavour that runs FLUX with the PuLID method" in refused["message"]
    return answer


def polled_by_javascript(api, key, **body):
    """The last answer, of a server that doesn't hold the first call until the picture is there."""
    command = ["node", str(POLLING_CLIENT), api, key, json.dumps({"prompt": "a sailor", **body})]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)
    assert answer["first"] == "processing"
    return answer

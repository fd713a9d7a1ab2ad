"""How a prompt ended, from its entry in ComfyUI's history."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..api.local.backend import CANCELLED, Phase, State
from ..errors import NoFaceError

# What a client is told where its photo is at fault: (node, kind of error) -> words without nodes, which it has none of.
OF_THE_PHOTO = {
    ("FaceGenEmbedFace", NoFaceError.__name__): "No face was found in face_image. Send a photo with one clear face and some "
    "room around it, down to the shoulders.",
}
VANISHED = State(Phase.FAILED, "The request was taken out of ComfyUI's queue.")
NOT_TEMPORARY = "The workflow of the local API has to end in a Preview Image node."
TEMPORARY = " [temp]"  # ends the name of a file there, for LoadImage
Image = Mapping[str, str]  # filename, subfolder and type


@dataclass(frozen=True)
class Outcome:
    """`images` are what the graph's result node showed, all of them in the temporary folder."""

    state: State
    images: list[Image] = field(default_factory=list)


def outcome(entry: Mapping[str, Any], node: str) -> Outcome:
    """`node` is the id of the graph's result node. What can't be read is a failure, too."""
    try:
        return _outcome(entry, node)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Outcome(State(Phase.FAILED, f"ComfyUI's history of the request can't be read ({type(error).__name__})."))


def left_behind(entry: Any) -> set[tuple[str, str]]:
    """(subfolder, name) of the photos and pictures of a prompt in the temporary folder, as far as its history tells."""
    try:
        shown = [image for output in entry["outputs"].values() for image in output.get("images", [])]
        files = {(str(image["subfolder"]), str(image["filename"])) for image in shown if image["type"] == "temp"}
        photos = [node["inputs"].get("image") for node in entry["prompt"][2].values() if node["class_type"] == "LoadImage"]
        names = [name.removesuffix(TEMPORARY) for name in photos if isinstance(name, str) and name.endswith(TEMPORARY)]
        return files | {(folder, file) for folder, _, file in (name.rpartition("/") for name in names)}
    except (KeyError, TypeError, AttributeError, IndexError):
        return set()


def _outcome(entry: Mapping[str, Any], node: str) -> Outcome:
    images: list[Image] = [
        {name: str(image[name]) for name in ("filename", "subfolder", "type")} for image in _shown(entry, node)
    ]
    if any(image["type"] != "temp" for image in images):
        return Outcome(State(Phase.FAILED, NOT_TEMPORARY))
    return Outcome(_state(dict(entry["status"]["messages"])), images)


def _shown(entry: Mapping[str, Any], node: str) -> Any:
    return entry["outputs"].get(node, {}).get("images", [])


def _state(messages: Mapping[str, Any]) -> State:
    if "execution_success" in messages:
        took = messages["execution_success"]["timestamp"] - messages["execution_start"]["timestamp"]
        return State(Phase.DONE, seconds=took / 1000)
    if error := messages.get("execution_error"):
        node, message = str(error.get("node_type")), str(error.get("exception_message")).strip()
        # Ours begin with the node's name as it is shown.
        told = message if node.startswith("FaceGen") else f"{node}: {message}"
        return State(Phase.FAILED, OF_THE_PHOTO.get((node, str(error.get("exception_type"))), told))
    return State(Phase.FAILED, CANCELLED)

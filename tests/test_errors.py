"""A node's or a command's advice around an engine's error."""

import ast
import copy
import importlib
import pickle

import pytest

import facegen
from facegen.errors import FaceGenError, advise, printable
from pack import ROOT


class NoPhoto(FaceGenError):
    """A kind that has a cure."""


def test_where_it_was_opens_the_error_and_the_cure_of_its_kind_closes_it():
    cause = OSError("disk")
    with pytest.raises(NoPhoto) as told, advise("Embed Face", {NoPhoto: "Connect one."}):
        raise NoPhoto("There is no photo.") from cause
    assert str(told.value) == "Embed Face: There is no photo. Connect one." and told.value.__cause__ is cause


def test_an_error_without_a_cure_only_says_where():
    with pytest.raises(FaceGenError, match=r"^Embed Face: Something else\.$"), advise("Embed Face", {NoPhoto: "Connect one."}):
        raise FaceGenError("Something else.")


def test_a_command_adds_its_cure_alone():
    with (
        pytest.raises(NoPhoto, match=r"^There is no photo\. Give one with --face\.$"),
        advise("", {NoPhoto: "Give one with --face."}),
    ):
        raise NoPhoto("There is no photo.")


def test_the_advice_comes_before_the_details():
    """A dialog shows the beginning. Twice, as a node's advice may go around another's."""
    with pytest.raises(NoPhoto) as told, advise("Sampler"), advise("Embed Face", {NoPhoto: "Connect one."}):
        raise NoPhoto("There is no photo.", "(Looked in 4 places.)")
    assert str(told.value) == "Sampler: Embed Face: There is no photo. Connect one. (Looked in 4 places.)"
    assert str(NoPhoto("There is none.", "(4)")) == "There is none. (4)" and str(FaceGenError()) == ""


def test_its_kind_is_a_plain_word():
    """ComfyUI shows module and class, less the module `builtins`; a pack's module is a path."""
    assert {FaceGenError.__module__, NoPhoto.__module__, type("Late", (NoPhoto,), {}).__module__} == {"builtins"}


def test_errors_of_another_kind_are_left_alone():
    with pytest.raises(ValueError, match="^no$"), advise("Embed Face"):
        raise ValueError("no")


def test_it_decorates_a_function_for_every_call():
    @advise("Embed Face")
    def embed(photo):
        if not photo:
            raise FaceGenError("There is no photo.")
        return photo

    assert embed(3) == 3
    for _ in range(2):
        with pytest.raises(FaceGenError, match=r"^Embed Face: There is no photo\.$"):
            embed(0)


def test_it_decorates_no_function_that_raises_only_later():
    """A coroutine or a generator has not begun when the decorator is left, so its errors would get no advice."""
    files = [*(ROOT / "nodes").rglob("*.py"), *(ROOT / "standalone").rglob("*.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    decorated = [
        function
        for tree in trees
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and any("advise" in ast.unparse(decorator) for decorator in function.decorator_list)
    ]
    later = (ast.AsyncFunctionDef, ast.Yield, ast.YieldFrom)
    assert decorated and [f.name for f in decorated if any(isinstance(part, later) for part in ast.walk(f))] == []


# For each class that is made of something other than its message: what it is made of.
MADE_OF = {
    "ContractError": ({"seed": ["The seed field is required."], "width": ["The width field is too large."]},),
    "Full": ("No more.", 20),
    "Refused": (429, "Too many.", 7),
    "RemoteError": ("Not here.", 5),
    "RefusedPhotoError": ("Not here.", 5),
    "MayBeBilledError": ("Not here.", 5),
    "MissingFiles": ("There is no checkpoint.", ["checkpoint"]),
    "SeveralFiles": ("Choose one.", "checkpoint", ["a.safetensors", "b.safetensors"]),
    "NotFetchedError": ("Not here.", 5),
}


def error_classes():
    """Every FaceGenError of the pack, found in its source: name -> class."""
    bases, files = {}, {}
    for folder in ("api", "models", "standalone", "nodes", "."):
        for file in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    bases[node.name], files[node.name] = {ast.unparse(base) for base in node.bases}, file
    found, more = set(), {"FaceGenError"}
    while more:
        found |= more
        more = {name for name, of in bases.items() if of & found} - found
    parts = {name: files[name].relative_to(ROOT).with_suffix("").parts for name in sorted(found)}
    return {name: getattr(importlib.import_module(".".join(("facegen", *path))), name) for name, path in parts.items()}


CLASSES = error_classes()


def test_the_classes_are_found():
    assert len(CLASSES) > 30 and {"FaceGenError", "NoFaceError", "AlphaChannelError", *MADE_OF} <= set(CLASSES)
    assert facegen.errors.FaceGenError is CLASSES["FaceGenError"]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "way", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deep"]
)
def test_an_error_comes_whole_out_of_another_process(name, way):
    """With its class, its words (the advice in them), and what else it knows: an engine may run elsewhere."""
    with pytest.raises(FaceGenError) as told, advise("The node", {FaceGenError: "Change it."}):
        raise CLASSES[name](*MADE_OF.get(name, ("There is no photo.",)))
    again = way(told.value)
    assert type(again) is CLASSES[name] and str(again) == str(told.value) and str(again).startswith("The node: ")
    assert again.args == told.value.args and vars(again) == vars(told.value)


def test_what_a_terminal_would_obey_is_escaped():
    assert printable("a\x1bc\n\x9b\u202eé\u2028") == "a\\x1bc\\n\\x9b\\u202eé\\u2028" and printable(7) == "7"

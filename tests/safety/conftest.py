"""Checkers that several tests use, and the seams through which tests see what a checker asks its model."""

import pytest

from facegen.models.safety.load import load_checker
from safety_files import concept_state, save_classifier, save_concepts


@pytest.fixture(scope="session")
def nudenet():
    return load_checker("nudenet", "CPU")


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """The other two kinds of checkers, with random weights."""
    folder = tmp_path_factory.mktemp("safety_checker")
    save_concepts(concept_state(), folder / "concepts.safetensors")
    save_classifier(folder / "detector")
    return [load_checker(name, folders=[folder]) for name in ("concepts.safetensors", "detector")]


class Model:
    """What stands between checkers and ONNX Runtime.

    asked      shapes of the inputs so far.
    providers  that each session was made for.
    answer     (run, names, inputs) -> outputs; a test may put its own in place.
    """

    def __init__(self):
        self.asked, self.providers = [], []
        self.answer = lambda run, names, given: run(names, given)


@pytest.fixture
def model(monkeypatch):
    """The Model of all checkers that are made in this test."""
    import onnxruntime

    model, real = Model(), onnxruntime.InferenceSession

    class Session:
        def __init__(self, path, options, providers):
            model.providers.append(providers)
            self.real = real(path, providers=["CPUExecutionProvider"])

        def __getattr__(self, name):
            return getattr(self.real, name)

        def run(self, names, given):
            model.asked += [array.shape for array in given.values()]
            return model.answer(self.real.run, names, given)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return model

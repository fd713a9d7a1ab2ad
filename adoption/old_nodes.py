"""How a node of another pack is described, so that a graph that was saved with it is read as it was meant."""

from dataclasses import dataclass
from typing import Any

WIDGETS = (
    "FLOAT",
    "INT",
    "BOOLEAN",
    "COMBO",
)  # inputs that are set on the node; a saved graph lists their values in this order
PREFIX, CATEGORY = "FaceGenAdopted", "FaceGen/adopted"


@dataclass(frozen=True)
class Input:
    """An input: `kind` is its socket's type, or one of WIDGETS with what the widget allows.

    folder    a combo lists the model files in it, in place of `options`.
    optional  it may be left unconnected.
    """

    name: str
    kind: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    options: tuple[str, ...] = ()
    folder: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Output:
    """An output's name and its socket's type; many: it gives a list, and what follows runs once for each."""

    name: str
    kind: str
    many: bool = False


@dataclass(frozen=True)
class OldNode:
    """A node of another pack.

    title    as its pack calls it.
    pack     the pack's repository.
    says     what it does, for the node that stands in for it.
    ties     inputs that tie it to others of its kind, such as "ipadapter". Such nodes are adopted together, or not at all.
    shared   True when its pack also uses it for what is no identity method; then those that it is tied to decide.
    """

    id: str
    title: str
    pack: str
    says: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    ties: tuple[str, ...] = ()
    shared: bool = False

    @property
    def new_id(self) -> str:
        """Of our node that stands in for it."""
        return PREFIX + self.id

    @property
    def display_name(self) -> str:
        """Of our node: the old one's, as people know it."""
        return f"{self.title} (FaceGen)"

    @property
    def description(self) -> str:
        """Of our node."""
        return f"Stands in for {self.title} of {self.pack}, in graphs that were made with that pack. {self.says}"

    @property
    def widgets(self) -> list[Input]:
        """Inputs that are set on the node, in the order of a saved graph."""
        return [one for one in self.inputs if one.kind in WIDGETS]

    def complete(self, inputs: dict[str, Any]) -> None:
        """Set what a graph in API format lacks because it is older than the input: to the default, which does what was done
        before."""
        for one in self.widgets:
            if not one.optional and not one.folder:
                inputs.setdefault(one.name, self.default(one.name))

    def default(self, name: str) -> Any:
        """What an input is set to in a new node."""
        one = next(one for one in self.inputs if one.name == name)
        return one.options[0] if one.default is None and one.options else one.default


def number(name: str, default: float, low: float, high: float, step: float = 0.05) -> Input:
    """An input for a number."""
    return Input(name, "FLOAT", default, low, high, step)


def choice(name: str, *options: str, default: str | None = None) -> Input:
    """An input for one of `options`."""
    return Input(name, "COMBO", default, options=options)


def socket(name: str, kind: str, optional: bool = False) -> Input:
    """An input that is connected."""
    return Input(name, kind, optional=optional)


def percent_range() -> tuple[Input, Input]:
    """When in the sampling the face acts, as all these packs ask for it."""
    return number("start_at", 0.0, 0.0, 1.0, 0.001), number("end_at", 1.0, 0.0, 1.0, 0.001)

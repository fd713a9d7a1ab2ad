"""A saved graph, in whichever format: what is asked of it, and the changes that adopting makes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from .old_nodes import OldNode

Node = str | int  # its number in the file
Source = tuple[Node, int]  # the node that an input is connected to, and the number of its output


class SavedGraph(ABC):
    """Nodes and links of one level of a saved graph. Changes are made in the parsed file itself, and nothing else of it."""

    @abstractmethod
    def nodes(self) -> list[Node]:
        """In the order of the file."""

    @abstractmethod
    def type(self, node: Node) -> str:
        """The node's class."""

    @abstractmethod
    def source(self, node: Node, name: str) -> Source | None:
        """What the input is connected to, as it is in the file."""

    @abstractmethod
    def links(self) -> Iterator[tuple[Source, Node, str]]:
        """(source, target, name of the target's input) of every link between nodes."""

    @abstractmethod
    def value(self, node: Node, old: OldNode, name: str) -> Any:
        """What the input of an old node is set to: its default where the file doesn't say."""

    @abstractmethod
    def texts(self, node: Node) -> list[str]:
        """The texts that a node of any kind is set to, such as names of files."""

    @abstractmethod
    def picture_size(self) -> tuple[int, int] | None:
        """Width and height in pixels of the empty latent that the graph begins with; None where it has none, or by a link."""

    @abstractmethod
    def rename(self, node: Node, new_type: str) -> None:
        """Give a node another class that has the same inputs and outputs."""

    # What follows makes several nodes of one.

    @abstractmethod
    def add(self, new_type: str, near: Node) -> Node:
        """A new node, set to nothing and connected to nothing, in a free place near another one."""

    @abstractmethod
    def become(self, node: Node, new_type: str) -> None:
        """Give a node another class and none of its old inputs. Links from its outputs stay, by the outputs' numbers."""

    @abstractmethod
    def set(self, node: Node, values: dict[str, Any]) -> None:
        """Set widgets of a node that was added or that became another."""

    @abstractmethod
    def wire(self, node: Node, name: str, source: Source | None) -> None:
        """Connect an input of a node that was added or that became another; None leaves it unconnected."""

    @abstractmethod
    def redirect(self, source: Source, new: Source | None) -> list[Node]:
        """Let all that is connected to an output be connected to another one, or to nothing. Gives the targets."""

    def traced(self, node: Node, name: str) -> Source | None:
        """What the input is connected to, through Reroute nodes."""
        source, seen = self.source(node, name), set()
        while source is not None and source[0] in self.nodes() and self.type(source[0]) == "Reroute":
            if source[0] in seen:
                return None
            seen.add(source[0])
            source = self.source(source[0], "")
        return source


def is_empty_latent(kind: str) -> bool:
    """Whether a node of this class makes the latent that sampling begins with; its first widgets are width and height."""
    return kind.startswith("Empty") and kind.endswith("LatentImage")

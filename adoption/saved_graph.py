"""A saved graph, in whichever format: what is asked of it, and the changes that adopting makes."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
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
        """(source, target, name of the target's input) of every link, those to and from a subgraph's own ends among them."""

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

    @abstractmethod
    def complete(self, node: Node, old: OldNode) -> None:
        """Set what the graph lacks because it is older than an input of the node."""

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

    @abstractmethod
    def remove(self, node: Node) -> None:
        """Take out a node, with its links."""

    @abstractmethod
    def set_outside(self, node: Node) -> list[str]:
        """Names of a node's widgets that are shown, and set, on the node that stands for its subgraph."""

    def traced(self, node: Node, name: str) -> Source | None:
        """What the input is connected to, through Reroute nodes."""
        source, seen = self.source(node, name), set()
        while source is not None and self._is_reroute(source[0]):
            if source[0] in seen:
                return None
            seen.add(source[0])
            source = self.source(source[0], "")
        return source

    def reached(self, node: Node) -> Iterator[tuple[int, Node, str]]:
        """(number of the output, target, name of its input) of all that a node is connected to, through Reroute nodes."""
        links, seen = list(self.links()), set()
        ways = [(slot, target, name) for (origin, slot), target, name in links if origin == node]
        while ways:
            slot, target, name = ways.pop()
            if not self._is_reroute(target):
                yield slot, target, name
            elif (slot, target) not in seen:
                seen.add((slot, target))
                ways += [(slot, after, name) for (origin, _), after, name in links if origin == target]

    def remove_idle_reroutes(self, among: Collection[Node]) -> None:
        """Take out those of `among` that lead nowhere any more."""
        idle = [node for node in among if not any(origin == node for (origin, _), _, _ in self.links())]
        for node in idle:
            self.remove(node)
        if idle:
            self.remove_idle_reroutes([node for node in among if node not in idle])

    def _is_reroute(self, node: Node) -> bool:
        return node in self.nodes() and self.type(node) == "Reroute"


def is_empty_latent(kind: str) -> bool:
    """Whether a node of this class makes the latent that sampling begins with; its first widgets are width and height."""
    return kind.startswith("Empty") and kind.endswith("LatentImage")

"""A graph in API format: {"3": {"class_type": …, "inputs": {…}}}, where a connected input is [number of a node, output]."""

from collections.abc import Iterator
from typing import Any

from .native.nodes import NATIVE
from .old_nodes import OldNode
from .saved_graph import Node, SavedGraph, Source, is_empty_latent


def is_api_graph(data: object) -> bool:
    """Whether it is a graph in API format, which has nothing but nodes, and what people write between them as text."""
    nodes = [node for node in data.values() if not isinstance(node, str)] if isinstance(data, dict) else []
    return bool(nodes) and all(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in nodes)


class ApiGraph(SavedGraph):
    """`prompt` is changed in place."""

    def __init__(self, prompt: dict[str, Any]):
        self.prompt = prompt

    def nodes(self) -> list[Node]:
        return [number for number, node in self.prompt.items() if isinstance(node, dict)]

    def type(self, node: Node) -> str:
        return str(self.prompt[str(node)]["class_type"])

    def _inputs(self, node: Node) -> dict[str, Any]:
        inputs: dict[str, Any] = self.prompt[str(node)].setdefault("inputs", {})
        return inputs

    def source(self, node: Node, name: str) -> Source | None:
        return _as_source(self._inputs(node).get(name))

    def links(self) -> Iterator[tuple[Source, Node, str]]:
        for node in self.nodes():
            for name, value in self._inputs(node).items():
                if (source := _as_source(value)) is not None:
                    yield source, node, name

    def value(self, node: Node, old: OldNode, name: str) -> Any:
        value = self._inputs(node).get(name)
        return old.default(name) if value is None or _as_source(value) is not None else value

    def texts(self, node: Node) -> list[str]:
        return [value for value in self._inputs(node).values() if isinstance(value, str)]

    def picture_size(self) -> tuple[int, int] | None:
        for node in self.nodes():
            width, height = (self._inputs(node).get(name) for name in ("width", "height"))
            if is_empty_latent(self.type(node)) and isinstance(width, int) and isinstance(height, int):
                return width, height
        return None

    def rename(self, node: Node, new_type: str) -> None:
        self.prompt[str(node)]["class_type"] = new_type

    def complete(self, node: Node, old: OldNode) -> None:
        old.complete(self._inputs(node))

    def add(self, new_type: str, near: Node) -> Node:
        numbers = [int(one) for one in self.prompt if one.isdecimal()]
        number = str(max(numbers, default=0) + 1)
        self.prompt[number] = {}
        self.become(number, new_type)
        return number

    def become(self, node: Node, new_type: str) -> None:
        self.rename(node, new_type)
        self.prompt[str(node)]["inputs"] = dict(NATIVE[new_type].values)

    def set(self, node: Node, values: dict[str, Any]) -> None:
        self._inputs(node).update(values)

    def wire(self, node: Node, name: str, source: Source | None) -> None:
        if source is not None:
            self._inputs(node)[name] = [str(source[0]), source[1]]

    def remove(self, node: Node) -> None:
        self.redirect((node, 0), None)
        del self.prompt[str(node)]

    def set_outside(self, node: Node) -> list[str]:
        return []

    def redirect(self, source: Source, new: Source | None) -> list[Node]:
        targets = []
        for found, node, name in list(self.links()):
            if found == source:
                targets.append(node)
                if new is None:
                    del self._inputs(node)[name]
                else:
                    self._inputs(node)[name] = [str(new[0]), new[1]]
        return targets


def _as_source(value: object) -> Source | None:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
        return value[0], value[1]
    return None

"""A graph as the front end saves it: nodes with their places and links by number; a subgraph is such a level, too."""

from collections.abc import Iterator
from typing import Any

from .layout import free_place
from .native.nodes import NATIVE
from .old_nodes import OldNode
from .saved_graph import Node, SavedGraph, Source, is_empty_latent

NAME = "Node name for S&R"
WHOSE = ("cnr_id", "aux_id", "ver")  # in a node's properties: the pack that it came from
LINK_KEYS = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
ENDS = {-10: "inputs", -20: "outputs"}  # numbers of a subgraph's own two ends, and what they stand for
PROXIES = "proxyWidgets"  # of a subgraph's node: [number of a node in it, name of that node's widget] each


def is_ui_graph(data: object) -> bool:
    """Whether it is a graph as the front end saves it."""
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list) or not isinstance(data.get("links"), list):
        return False
    return all(isinstance(node, dict) and "id" in node and isinstance(node.get("type"), str) for node in data["nodes"])


def levels(data: dict[str, Any]) -> "list[UiGraph]":
    """The graph itself, and each of its subgraphs."""
    definitions = (data.get("definitions") or {}).get("subgraphs") or []
    return [UiGraph(one, data) for one in (data, *definitions) if is_ui_graph(one)]


class UiGraph(SavedGraph):
    """`data`, the graph `whole` or a subgraph of it, is changed in place."""

    def __init__(self, data: dict[str, Any], whole: dict[str, Any]):
        self.data, self.whole = data, whole
        self.by_number: dict[Node, dict[str, Any]] = {node["id"]: node for node in data["nodes"]}

    def nodes(self) -> list[Node]:
        return list(self.by_number)

    def type(self, node: Node) -> str:
        return f"the subgraph's {ENDS[int(node)]}" if node in ENDS else str(self.by_number[node]["type"])

    def source(self, node: Node, name: str) -> Source | None:
        slot = self._input(node, name)
        link = None if slot is None or slot.get("link") is None else self._links().get(slot["link"])
        return None if link is None else (link["origin_id"], link["origin_slot"])

    def _input(self, node: Node, name: str) -> dict[str, Any] | None:
        """A node's saved input; a Reroute's only one has no name of its own."""
        inputs: list[dict[str, Any]] = self.by_number[node].get("inputs") or []
        if self.type(node) == "Reroute":
            return inputs[0] if inputs else None
        return next((one for one in inputs if one.get("name") == name), None)

    def _links(self) -> dict[Any, dict[str, Any]]:
        """Number -> link. The older format has them as lists."""
        links = (link if isinstance(link, dict) else dict(zip(LINK_KEYS, link, strict=False)) for link in self.data["links"])
        return {link["id"]: link for link in links}

    def links(self) -> Iterator[tuple[Source, Node, str]]:
        for link in self._links().values():
            slot = self._target(link)
            if slot is not None or link["target_id"] in ENDS:
                yield (link["origin_id"], link["origin_slot"]), link["target_id"], (slot or {}).get("name", "")

    def value(self, node: Node, old: OldNode, name: str) -> Any:
        values = self.by_number[node].get("widgets_values")
        if isinstance(values, dict):
            return values.get(name, old.default(name))
        place = [one.name for one in old.widgets].index(name)
        return values[place] if isinstance(values, list) and place < len(values) else old.default(name)

    def texts(self, node: Node) -> list[str]:
        values = self.by_number[node].get("widgets_values") or []
        return [value for value in (values.values() if isinstance(values, dict) else values) if isinstance(value, str)]

    def picture_size(self) -> tuple[int, int] | None:
        for node in self.nodes():
            values = self.by_number[node].get("widgets_values")
            linked = any(self.source(node, name) is not None for name in ("width", "height"))
            size = values[:2] if isinstance(values, list) and not linked else []
            if is_empty_latent(self.type(node)) and [type(side) for side in size] == [int, int]:
                return size[0], size[1]
        return None

    def rename(self, node: Node, new_type: str) -> None:
        saved = self.by_number[node]
        saved["type"] = new_type
        properties = saved.get("properties")
        if isinstance(properties, dict):
            for name in WHOSE:
                properties.pop(name, None)
            properties[NAME] = new_type

    def complete(self, node: Node, old: OldNode) -> None:
        """The front end does it, as values are listed in the order of the inputs."""

    def add(self, new_type: str, near: Node) -> Node:
        number = self._new_node_number()
        size = [NATIVE[new_type].width, NATIVE[new_type].height]
        place = free_place(size, self.by_number[near], self.data["nodes"])
        saved: dict[str, Any] = {"id": number, "type": new_type, "pos": place, "size": size, "flags": {}}
        saved |= {"order": len(self.by_number), "mode": self.by_number[near].get("mode", 0), "properties": {}}
        self.data["nodes"].append(saved)
        self.by_number[number] = saved
        self.become(number, new_type)
        return number

    def become(self, node: Node, new_type: str) -> None:
        saved, new = self.by_number[node], NATIVE[new_type]
        for slot in saved.get("inputs") or []:
            if slot.get("link") is not None:
                self._unlink(slot["link"])
        outgoing = [output.get("links") for output in saved.get("outputs") or []]
        saved["inputs"] = [_saved_input(name, kind, name in new.values) for name, kind in new.inputs.items()]
        saved["outputs"] = [
            {"name": name, "type": kind, "links": outgoing[slot] if slot < len(outgoing) else None}
            for slot, (name, kind) in enumerate(new.outputs.items())
        ]
        saved["widgets_values"] = list(new.values.values())
        self.rename(node, new_type)

    def set(self, node: Node, values: dict[str, Any]) -> None:
        names = list(NATIVE[self.type(node)].values)
        for name, value in values.items():
            self.by_number[node]["widgets_values"][names.index(name)] = value

    def wire(self, node: Node, name: str, source: Source | None) -> None:
        if source is None:
            return
        inputs = self.by_number[node]["inputs"]
        (slot,) = (place for place, one in enumerate(inputs) if one["name"] == name)
        number = self._new_number("lastLinkId", "last_link_id", self._links())
        inputs[slot]["link"] = number
        kind = inputs[slot]["type"]
        self._write(dict(zip(LINK_KEYS, (number, *source, node, slot, kind), strict=True)))
        self._outgoing(source).append(number)

    def redirect(self, source: Source, new: Source | None) -> list[Node]:
        targets = []
        for number, link in self._links().items():
            if (link["origin_id"], link["origin_slot"]) == source:
                self._unlink(number)
                slot = self._target(link)
                if slot is None and link["target_id"] not in ENDS:
                    continue
                targets.append(link["target_id"])
                if new is not None:
                    self._write(link | {"origin_id": new[0], "origin_slot": new[1]})
                    self._outgoing(new).append(number)
                    if slot is None:
                        self._ends_of(link["target_id"], link["target_slot"]).append(number)
                    else:
                        slot["link"] = number
        return targets

    def remove(self, node: Node) -> None:
        for number, link in self._links().items():
            if node in (link["origin_id"], link["target_id"]):
                self._unlink(number)
        del self.by_number[node]
        self.data["nodes"][:] = [one for one in self.data["nodes"] if one["id"] != node]

    def set_outside(self, node: Node) -> list[str]:
        if self.data is self.whole:
            return []
        found = []
        for level in levels(self.whole):
            for one in level.data["nodes"]:
                proxies = (one.get("properties") or {}).get(PROXIES) if one["type"] == self.data.get("id") else None
                found += [str(name) for number, name in proxies or () if str(number) == str(node)]
        return found

    def _target(self, link: dict[str, Any]) -> dict[str, Any] | None:
        """The saved input that a link leads to; None for one that leads nowhere, as some files have."""
        inputs = self.by_number.get(link["target_id"], {}).get("inputs") or []
        return inputs[link["target_slot"]] if link["target_slot"] < len(inputs) else None

    def _outgoing(self, source: Source) -> list[Any]:
        """The list of links on an output, as the file has it."""
        if source[0] in ENDS:
            return self._ends_of(*source)
        output = self.by_number[source[0]]["outputs"][source[1]]
        links: list[Any] = output.get("links") or []
        output["links"] = links
        return links

    def _ends_of(self, end: Node, slot: int) -> list[Any]:
        """The list of links on one of a subgraph's own inputs or outputs."""
        numbers: list[Any] = self.data[ENDS[int(end)]][slot].setdefault("linkIds", [])
        return numbers

    def _write(self, link: dict[str, Any]) -> None:
        """Add a link in the form that the file's others have."""
        others = self.data["links"]
        as_objects = isinstance(others[0], dict) if others else "state" in self.data
        others.append(link if as_objects else [link[key] for key in LINK_KEYS])

    def _unlink(self, number: Any) -> None:
        """Take a link out of the list and off both of its ends."""
        link = self._links().get(number)
        if link is None:
            return
        self.data["links"][:] = [
            one for one in self.data["links"] if (one["id"] if isinstance(one, dict) else one[0]) != number
        ]
        lists = []
        if link["origin_id"] in self.by_number or link["origin_id"] in ENDS:
            lists.append(self._outgoing((link["origin_id"], link["origin_slot"])))
        if link["target_id"] in ENDS:
            lists.append(self._ends_of(link["target_id"], link["target_slot"]))
        for numbers in lists:
            numbers[:] = [one for one in numbers if one != number]
        if (slot := self._target(link)) is not None:
            slot["link"] = None

    def _new_node_number(self) -> int:
        """One that no node has, on no level: newer front ends want it so."""
        every = [node for level in levels(self.whole) for node in level.by_number]
        number = self._new_number("lastNodeId", "last_node_id", dict.fromkeys(every))
        if self.data is not self.whole:
            UiGraph(self.whole, self.whole)._new_number("lastNodeId", "last_node_id", {number - 1: None})
        return number

    def _new_number(self, in_state: str, at_top: str, taken: dict[Any, Any]) -> int:
        """One more than the highest so far, which the file keeps as well."""
        state, name = (self.data["state"], in_state) if "state" in self.data else (self.data, at_top)
        numbers = [int(one) for one in (state.get(name, 0), *taken) if str(one).isdecimal()]
        state[name] = max(numbers) + 1
        return int(state[name])


def _saved_input(name: str, kind: str, is_widget: bool) -> dict[str, Any]:
    saved: dict[str, Any] = {"name": name, "type": kind, "link": None}
    return saved | {"widget": {"name": name}} if is_widget else saved

"""Adopts the nodes of other packs in a saved graph."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import FaceGenError
from .api_graph import ApiGraph, is_api_graph
from .native.families import make_native
from .saved_graph import SavedGraph
from .ui_graph import is_ui_graph, levels
from .which import OLD, find_old


@dataclass
class Adopted:
    """What was done to a graph, in sentences: nodes that were adopted, nodes that were left, and what to know of it."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def adopt_graph(data: Any, native: bool = False, base: str | None = None) -> Adopted:
    """Changes `data`, a parsed file in the front end's or in API format, in place.

    Each node of another pack that ours can stand in for gets the class of ours that has its inputs and outputs; with `native`,
    it becomes the nodes that one would use in a new graph. base: "sd15" or "sdxl", for files that a preset means; None: as
    the checkpoint's name says. Raises FaceGenError when `data` is no graph.
    """
    if is_ui_graph(data):
        return _adopt_levels(levels(data), native, base)
    prompt = data.get("prompt") if isinstance(data, dict) else None
    for graph in (data, prompt):
        if isinstance(graph, dict) and is_api_graph(graph):
            return _adopt_levels([ApiGraph(graph)], native, base)
    raise FaceGenError(
        "This is no graph of ComfyUI's: it has neither the nodes and links that the front end saves, nor is it an object of "
        "nodes with a class_type each, as API format is."
    )


def adopt_prompt(prompt: dict[str, Any], installed: Callable[[str], bool]) -> list[str]:
    """For a graph in API format that is about to be queued: every old node whose class isn't `installed` gets our class, as
    ComfyUI's own replacement would give it. What can't be adopted then says so when it runs. Gives what was done."""
    done = []
    for number, node in prompt.items():
        old = OLD.get(str(node.get("class_type"))) if isinstance(node, dict) else None
        if old is not None and not installed(old.id):
            node["class_type"] = old.new_id
            if isinstance(node.get("inputs"), dict):
                old.complete(node["inputs"])
            done.append(f"{old.id} {number}: now {old.new_id}")
    return done


def _adopt_levels(graphs: Iterable[SavedGraph], native: bool, base: str | None) -> Adopted:
    adopted = Adopted()
    for graph in graphs:
        if native:
            made = make_native(graph, find_old(graph).families, base)
            adopted.done += made.done
            adopted.notes += made.notes
        more = _rename(graph)
        adopted.done += more.done
        adopted.left += more.left
    return adopted


def _rename(graph: SavedGraph) -> Adopted:
    found = find_old(graph)
    for node, old in found.adopted.items():
        graph.rename(node, old.new_id)
        graph.complete(node, old)
    done = [f"{old.id} {node}: now {old.new_id}" for node, old in found.adopted.items()]
    return Adopted(done, [f"{graph.type(node)} {node}: left, because {why}" for node, why in found.left.items()])

"""What this ComfyUI's node schema knows. Newer arguments are given where it has them and left out where it hasn't, so that
the nodes load and behave the same on every ComfyUI from 0.3.64 on. The one place that asks.
"""

import dataclasses
import inspect
from typing import Any

from comfy_api.latest import io

SCHEMA = {field.name for field in dataclasses.fields(io.Schema)}
INPUT = set(inspect.signature(io.Float.Input.__init__).parameters)

# For an input that is folded away until it is asked for: `**ADVANCED`. ComfyUI 0.10.
ADVANCED: dict[str, Any] = {"advanced": True} if "advanced" in INPUT else {}


def newer(*, search: str, essentials: str | None = None, price: str | None = None) -> dict[str, Any]:
    """Arguments for io.Schema, as far as this ComfyUI has them.

    search      what else people type to find the node, separated by commas. ComfyUI 0.11.
    essentials  the node's category among the essential ones. ComfyUI 0.15.
    price       what the node's badge says of its price, in a few words. ComfyUI 0.9.
    """
    wanted: dict[str, Any] = {"search_aliases": search.split(", "), "essentials_category": essentials}
    if price is not None and "price_badge" in SCHEMA:
        wanted["price_badge"] = io.PriceBadge(expr=f'{{"type": "text", "text": "{price}"}}')
    return {name: value for name, value in wanted.items() if name in SCHEMA and value is not None}

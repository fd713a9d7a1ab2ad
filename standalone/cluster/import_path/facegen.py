"""The pack as package `facegen` for processes that Ray starts: this file's folder is on their PYTHONPATH.

The pack's own folder may have any name, and isn't on it: its nodes/ would hide ComfyUI's nodes.py.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[3])]

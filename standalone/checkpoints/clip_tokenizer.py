"""A CLIP tokenizer's files, of the pairs of pieces that it merges: its vocabulary follows from them."""

import json
from collections.abc import Iterable
from pathlib import Path

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
MERGES = Path(__file__).with_name("clip_merges.txt")
LENGTH = 77  # tokens of a text, its two marks included
VERSION = "#version: 0.2"


def clip_merges() -> list[tuple[str, ...]]:
    """OpenAI's, as all checkpoints of Stable Diffusion 1.5 and XL use them."""
    return [tuple(line.split()) for line in MERGES.read_text(encoding="utf-8").splitlines()[1:] if line]


def save_tokenizer(folder: Path, merges: Iterable[tuple[str, ...]], pad: str = EOS) -> int:
    """Write a CLIP tokenizer: the byte-level alphabet in CLIP's order, then the merges, then two marks. It can spell any text.
    Returns the number of entries."""
    merges = list(merges)
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # bytes that print as themselves
    letters = [chr(b) for b in shown] + [chr(0x100 + n) for n in range(256 - len(shown))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), BOS, EOS]
    tokens = list(dict.fromkeys(tokens))
    marks = {"bos_token": BOS, "eos_token": EOS, "pad_token": pad, "unk_token": EOS}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True, **marks}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "vocab.json": json.dumps({token: number for number, token in enumerate(tokens)}, ensure_ascii=False),
        "merges.txt": f"{VERSION}\n" + "".join(f"{' '.join(pair)}\n" for pair in merges),
        "special_tokens_map.json": json.dumps(marks, indent=2),
        "tokenizer_config.json": json.dumps(config, indent=2),
    }.items():
        (folder / name).write_text(content, encoding="utf-8", newline="\n")
    return len(tokens)

"""Captions and the tokenizer that knows their words."""

import json
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...models.style import load_style, style_files
from .drawings.person import STYLES, Person, View, words

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
OTHER_WORDS = "a the of with in on and person portrait picture face smiling happy astronaut"
MUST = ("hair_colour", "glasses")  # said whenever it isn't as the photo shows it


@cache
def _style(name: str):
    return load_style(style_files()[name])


def caption(style: str, phrases: dict[str, str], rng: np.random.Generator, kept: float, changed: bool) -> str:
    """What is seen, each thing with probability `kept`, in the style's own template or, now and then, by its name alone."""
    said = [p for kind, p in phrases.items() if rng.random() < kept or (changed and kind in MUST)]
    rng.shuffle(said)
    text = ", ".join(said) or "a portrait"
    return f"{style} {text}" if rng.random() < 0.15 else _style(style).positive(text)


def unwanted(rng: np.random.Generator) -> str:
    """What a negative prompt says, or nothing: both stand for no prompt."""
    return "" if rng.random() < 0.5 else _style(str(rng.choice(STYLES))).negative_prompt()


def _corpus(seed: int = 0, people: int = 2000) -> list[str]:
    """Every word that captions use, sorted."""
    rng = np.random.default_rng(seed)
    texts = [OTHER_WORDS, *STYLES]
    for name in STYLES:
        texts += [_style(name).positive(""), _style(name).negative_prompt()]
    for _ in range(people):
        texts += words(Person.random(rng), View.random(rng)).values()
    found = {word for text in texts for word in "".join(c if c.isalpha() else " " for c in text.lower()).split()}
    return sorted(word for word in found if word.isascii())


def _merges(corpus: list[str]) -> list[tuple[str, str]]:
    """The commonest pair of neighbours again and again, until each word is one token (arXiv:1508.07909). Ties are broken by the
    pair itself: the library's trainer breaks them another way in each process, and a training that goes on needs the same."""
    spelled = [(*word[:-1], f"{word[-1]}</w>") for word in corpus]
    merges = []
    while counts := Counter(pair for word in spelled for pair in pairwise(word)):
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        spelled = [_merged(word, best) for word in spelled]
    return merges


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    done: list[str] = []
    for token in word:
        if done and (done[-1], token) == pair:
            done[-1] += token
        else:
            done.append(token)
    return tuple(done)


def save_tokenizer(folder: Path) -> int:
    """Write a CLIP tokenizer: the byte-level alphabet in CLIP's order, then the merges that make each word of the corpus one
    token, then two marks. It can spell any text. Returns the number of entries."""
    merges = _merges(_corpus())
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # bytes that print as themselves
    letters = [chr(b) for b in shown] + [chr(0x100 + n) for n in range(256 - len(shown))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), BOS, EOS]
    tokens = list(dict.fromkeys(tokens))
    marks = {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **marks}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "vocab.json": json.dumps({token: number for number, token in enumerate(tokens)}, ensure_ascii=False),
        "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
        "special_tokens_map.json": json.dumps(marks, indent=2),
        "tokenizer_config.json": json.dumps(config, indent=2),
    }.items():
        (folder / name).write_text(content, encoding="utf-8", newline="\n")
    return len(tokens)


def load_tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


def token_ids(tokenizer, texts: list[str]):
    """int64 [n, 77]."""
    return tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids

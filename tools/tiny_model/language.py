"""Captions and the tokenizer that knows their words."""

from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...models.style import load_style, style_files
from ...standalone.checkpoints import clip_tokenizer
from .drawings.person import STYLES, Person, View, words

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


def unwanted() -> list[str]:
    """What stands for no prompt: nothing, and what the styles' negative prompts say."""
    return ["", *(_style(name).negative_prompt() for name in STYLES)]


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
    """Write a CLIP tokenizer whose merges make each word of the corpus one token. Returns the number of entries."""
    return clip_tokenizer.save_tokenizer(folder, _merges(_corpus()))


def load_tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


def token_ids(tokenizer, texts: list[str]):
    """int64 [n, 77]."""
    return tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="np").input_ids

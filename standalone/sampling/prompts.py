"""Prompts to what the UNet reads of them: by one text encoder for SD1.5, by two for SDXL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Text:
    """states: [texts, 77, width]; pooled: [texts, width], or None where the UNet reads none (SD1.5)."""

    states: Tensor
    pooled: Tensor | None = None

    def after(self, other: "Text") -> "Text":
        """The other's, then these."""
        pooled = None if self.pooled is None or other.pooled is None else torch.cat([other.pooled, self.pooled])
        return Text(torch.cat([other.states, self.states]), pooled)


def numbers(texts: int, samples: int | Sequence[int]) -> list[int]:
    """Which text each row reads: `samples` rows for every text, or so many for each."""
    counts = [samples] * texts if isinstance(samples, int) else samples
    return [number for number, count in zip(range(texts), counts, strict=True) for _ in range(count)]


def encode(tokenizers: Sequence[Any], text_encoders: Sequence[Any], texts: Sequence[str], samples: int | Sequence[int]) -> Text:
    """Each text `samples` times; what is beyond the 77 tokens is cut off.

    SD1.5 reads the encoder's last states, SDXL the ones before the last of both, side by side, and the second's pooled text.
    """
    outputs = []
    for tokenizer, encoder in zip(tokenizers, text_encoders, strict=True):
        length = tokenizer.model_max_length
        tokens = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        ids = tokens.input_ids.to(encoder.device)
        outputs.append(encoder(ids, attention_mask=None, output_hidden_states=len(text_encoders) > 1))
    rows = numbers(len(texts), samples)
    if len(outputs) == 1:
        return Text(outputs[0][0][rows])
    states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    return Text(states[rows], outputs[-1].text_embeds[rows])

"""The adapter's tokens before any UNet: the projection of identities and the resampler of CLIP states, which the UNet reads."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.identity.faceid.projection import identity_tokens, structure_tokens
from ..data import Drawings
from ..networks import CONTEXT, TOKENS, Adapter
from ..worker import Worker, train
from .conditions import Conditions, photo_of
from .faces import SEEN


class TokensTraining(nn.Module):
    """A linear layer reads the person's attributes from the tokens, another one, once structure is added, how the face is
    held: so a UNet that learns from the tokens finds both in them from the first step on."""

    def __init__(self, adapter: Adapter, attributes: int):
        super().__init__()
        self.adapter = adapter
        self.who, self.held = (nn.Linear(TOKENS * CONTEXT, outputs) for outputs in (attributes, len(SEEN)))

    def forward(self, identity: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """identity [n, 512], states [n, 257, 64] to attributes by identity alone and with structure, and pose."""
        tokens = identity_tokens(self.adapter.weights, identity)
        both = (tokens + structure_tokens(self.adapter.weights, tokens, states)).flatten(1)
        return self.who(tokens.flatten(1)), self.who(both), self.held(both)


def train_tokens(
    worker: Worker, drawings: Drawings, conditions: Conditions, adapter: Adapter, steps: int, batch: int = 64
) -> TokensTraining:
    """Fits the adapter's projection and resampler, in place. Returns the network of which it is part."""
    network = worker.build(lambda: TokensTraining(adapter, drawings.vectors.shape[1]))
    count = max(4, batch // worker.world)

    def loss(rng: np.random.Generator) -> Tensor:
        people = rng.integers(drawings.people, size=count)
        photos = [photo_of(drawings, rng, int(person), int(rng.integers(2))) for person in people]
        arrays = (
            [conditions.identities[photo] for photo in photos],
            [conditions.states[photo] for photo in photos],
            drawings.attributes[people],
            [drawings.structure[photo][SEEN] for photo in photos],
        )
        identity, states, who, held = (torch.from_numpy(np.stack(a).astype(np.float32)).to(worker.device) for a in arrays)
        alone, both, seen = network(identity, states)
        return F.mse_loss(alone, who) + F.mse_loss(both, who) + 4 * F.mse_loss(seen, held)

    train(worker, "tokens", network, loss, steps, 2e-3)
    return network

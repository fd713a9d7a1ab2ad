"""The adapter's tokens before any UNet: the projection of identities and the resampler of CLIP states, which the UNet reads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.identity.faceid.projection import identity_tokens, structure_tokens
from ..data import Drawings
from ..networks import CONTEXT, TOKENS, Adapter
from ..worker import Worker, train
from .conditions import Conditions
from .faces import SEEN


class TokensTraining(nn.Module):
    """A linear layer reads the person's attributes from the tokens, another one, once structure is added, how the face is
    held: so a UNet that learns from the tokens finds both in them from the first step on."""

    def __init__(self, adapter: Adapter, attributes: int):
        super().__init__()
        self.adapter = adapter
        self.who, self.held = (nn.Linear(TOKENS * CONTEXT, outputs) for outputs in (attributes, len(SEEN)))

    def forward(self, identity: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """identity [n, 512], states [n, 257, width] to attributes by identity alone and with structure, and pose."""
        tokens = identity_tokens(self.adapter.weights, identity)
        both = (tokens + structure_tokens(self.adapter.weights, tokens, states)).flatten(1)
        return self.who(tokens.flatten(1)), self.who(both), self.held(both)


def train_tokens(
    worker: Worker, drawings: Drawings, conditions: Conditions, adapter: Adapter, steps: int, batch: int = 64
) -> TokensTraining:
    """Fits the adapter's projection and resampler, in place. Returns the network of which it is part."""
    network = worker.build(lambda: TokensTraining(adapter, drawings.attributes.shape[1]))
    count = max(4, batch // worker.world)

    def loss(_: Tensor) -> Tensor:
        people = (torch.rand(count, device=worker.device) * drawings.count).long()
        photos = drawings.photos(people, torch.randint(2, (count,), device=worker.device))
        alone, both, seen = network(conditions.identities[photos].float(), conditions.states[photos].float())
        who, held = drawings.attributes[people], drawings.held(photos, SEEN)
        return F.mse_loss(alone, who) + F.mse_loss(both, who) + 4 * F.mse_loss(seen, held)

    train(worker, "tokens", network, loss, steps, 2e-3)
    return network

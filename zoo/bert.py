"""A BERT encoder in plain torch, its parameters named as in published checkpoints.

Note: transformers' BertModel computes the same (a test compares them), but importing it takes
seconds in every worker, and its forward has many branches that exporters stumble over.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Embeddings(nn.Module):
    """Sum of word, position and (always the first) segment embeddings, normalised."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, ids: Tensor) -> Tensor:
        positions = self.position_embeddings.weight[: ids.shape[1]]
        segment = self.token_type_embeddings.weight[0]
        return self.LayerNorm(self.word_embeddings(ids) + positions + segment)


class Attention(nn.Module):
    """Multi-head self-attention over the tokens that `mask` (bool [n, 1, 1, t]) lets through."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def _split(self, hidden: Tensor) -> Tensor:
        return hidden.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        # A bool mask, not a sum with a large negative number: that overflows in FP16.
        mixed = functional.scaled_dot_product_attention(
            self._split(self.query(hidden)),
            self._split(self.key(hidden)),
            self._split(self.value(hidden)),
            attn_mask=mask,
        )
        return mixed.transpose(1, 2).flatten(2)


class Residual(nn.Module):
    """A projection added to what went in, then normalised."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inside, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, hidden: Tensor, skipped: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(hidden) + skipped)


class Layer(nn.Module):
    """Attention and a feed-forward block (Vaswani et al., 2017), normalised after each."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": Attention(width, heads), "output": Residual(width, width)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = Residual(inner, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        attended = self.attention["self"](hidden, mask)
        hidden = self.attention["output"](attended, hidden)
        inner = functional.gelu(self.intermediate["dense"](hidden))
        return self.output(inner, hidden)


class Bert(nn.Module):
    """BERT (Devlin et al., 2019) without the pooler and without dropout.

    ids: int64 [n, t]; mask: int64 [n, t], 1 for tokens and 0 for padding. Returns float
    [n, t, width].
    """

    def __init__(
        self, *, vocabulary: int, positions: int, width: int, heads: int, inner: int, layers: int
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, width)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))}
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = self.embeddings(ids)
        visible = (mask > 0)[:, None, None, :]
        for layer in self.encoder["layer"].children():
            hidden = layer(hidden, visible)
        return hidden


class SentenceEncoder(nn.Module):
    """Mean of a BERT's token vectors, of length 1 (Reimers and Gurevych, 2019).

    input_ids, attention_mask: int64 [n, t]. Returns float [n, width].
    """

    def __init__(self, bert: Bert) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.bert(input_ids, attention_mask)
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        return functional.normalize(mean, dim=1)


def match(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Checkpoint entries that `Bert` has: without the pooler and the position numbers."""
    return {
        name: torch.as_tensor(value)
        for name, value in state.items()
        if not name.startswith("pooler.") and name != "embeddings.position_ids"
    }

"""Heads and neurons of transformer layers; what passes between the layers keeps its width."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional

from optimizers.slim_units import Member, Units, neurons, rows
from zoo.bert import Layer as BertLayer


class SlimAttention(nn.Module):
    """Multi-head attention whose heads may be fewer than the width they read and write.

    torch's nn.MultiheadAttention insists on heads that fill its width, so none can leave it; and
    torch-pruning, told its heads, prunes in silence only the MLPs. No masks.
    """

    def __init__(self, width: int, heads: int, head: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        inside = heads * head
        self.query = nn.Linear(width, inside, bias)
        self.key = nn.Linear(width, inside, bias)
        self.value = nn.Linear(width, inside, bias)
        self.output = nn.Linear(inside, width, bias)

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, None]:
        """float [n, t, width] three times. Returns the mixed values, and no weights."""
        if need_weights:
            raise ValueError("slimmed attention returns no weights")
        mixed = functional.scaled_dot_product_attention(
            self._split(self.query(query)),
            self._split(self.key(key)),
            self._split(self.value(value)),
        )
        return self.output(mixed.transpose(1, 2).flatten(2)), None


def open_attention(module: nn.Module) -> list[str]:
    """Put SlimAttention in place of each nn.MultiheadAttention that can be one; their names.

    Only in torchvision's encoder blocks: they call it without masks and ask for no weights.
    """
    names = [
        f"{name}.self_attention"
        for name, block in module.named_modules()
        if _is_encoder_block(block) and isinstance(block.self_attention, nn.MultiheadAttention)
    ]
    put_attention(module, names)
    return names


def put_attention(module: nn.Module, names: list[str]) -> None:
    """Put SlimAttention, with all heads and the same weights, in place of the named layers."""
    for name in names:
        prefix, _, own = name.rpartition(".")
        old = module.get_submodule(name)
        assert isinstance(old, nn.MultiheadAttention)
        setattr(module.get_submodule(prefix), own, _opened(old))


def _opened(old: nn.MultiheadAttention) -> SlimAttention:
    biased = old.in_proj_bias is not None
    new = SlimAttention(old.embed_dim, old.num_heads, old.head_dim, biased)
    state = {"output.weight": old.out_proj.weight}
    parts = {"weight": old.in_proj_weight}
    if biased:
        state["output.bias"] = old.out_proj.bias
        parts["bias"] = old.in_proj_bias
    for kind, whole in parts.items():
        for name, part in zip(("query", "key", "value"), whole.chunk(3), strict=True):
            state[f"{name}.{kind}"] = part
    new.load_state_dict(state)
    return new.train(old.training)


def groups(module: nn.Module) -> Iterator[Units]:
    """Heads, and neurons of the feed-forward blocks, of the layers that are known here.

    Without those that another stage has made something else of than plain linear layers.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, BertLayer):
            attention, output = layer.attention["self"], layer.attention["output"]
            yield from heads(f"{name}.attention heads", attention, output.get_submodule("dense"))
            yield from _neurons(name, layer.intermediate["dense"], layer.output.dense)
        elif isinstance(layer, nn.TransformerEncoderLayer):
            yield from _neurons(name, layer.linear1, layer.linear2)
        elif _is_encoder_block(layer):
            slim = layer.get_submodule("self_attention")
            if isinstance(slim, SlimAttention):
                yield from heads(f"{name}.self_attention heads", slim, slim.output)
            yield from _neurons(name, layer.get_submodule("mlp.0"), layer.get_submodule("mlp.3"))


def heads(name: str, attention: nn.Module, output: nn.Module) -> Iterator[Units]:
    """The heads between an attention's projections `query`, `key`, `value` and its `output`."""
    layers = [attention.get_submodule(one) for one in ("query", "key", "value")]
    plain = [one for one in layers if isinstance(one, nn.Linear)]
    if len(plain) < len(layers) or not isinstance(output, nn.Linear):
        return
    count = attention.heads
    assert isinstance(count, int)
    grain = plain[0].out_features // count
    yield Units(
        name,
        [
            *(member for layer in plain for member in rows(layer, grain)),
            Member(output, "weight", 1, grain, reads=True),
        ],
        [
            (attention, "heads", 1),
            *((layer, "out_features", grain) for layer in plain),
            (output, "in_features", grain),
        ],
    )


def _neurons(name: str, first: nn.Module, second: nn.Module) -> Iterator[Units]:
    if isinstance(first, nn.Linear) and isinstance(second, nn.Linear):
        yield neurons(f"{name} neurons", first, second)


def _is_encoder_block(layer: nn.Module) -> bool:
    kind = type(layer)
    return kind.__name__ == "EncoderBlock" and kind.__module__.startswith("torchvision.")

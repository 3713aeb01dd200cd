"""The same pair under pytest-benchmark, as its own documentation shows; run by proof_jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

arms: dict[str, Callable[..., Any]] = {}
inputs: tuple[Any, Any] = ((), {})


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_speed(benchmark: Any, arm: str) -> None:
    args, kwargs = inputs
    with torch.inference_mode():
        benchmark(arms[arm], *args, **kwargs)

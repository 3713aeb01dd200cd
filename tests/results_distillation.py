"""Whether the teacher helps: each model's student with it and without it, over several seeds.

Both start from the same weights, see the same samples in the same order and train for as long;
they differ in the loss alone. The evaluation split is scored once, at the end: temperature, share
and recipe were chosen on the calibration split, which neither training nor teacher has seen.

    python tests/results_distillation.py MODEL WEIGHTS.safetensors --seeds 8

prints a line of JSON a seed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SEEDS = 8
"""Gains have an SD of 0.4 points between seeds: eight tell 0.35 points from zero, three 1.0."""

LEAST_SEEDS = 3


def paired_interval(gains: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of paired differences, one a seed.

    The seed is the replicate: it decides first weights and order of both arms. Raises ValueError
    for fewer than three.
    """
    if len(gains) < LEAST_SEEDS:
        raise ValueError(f"an interval needs {LEAST_SEEDS} seeds, found {len(gains)}")
    from scipy import special

    reach = special.stdtrit(len(gains) - 1, (1 + confidence) / 2)
    half = float(reach) * statistics.stdev(gains) / math.sqrt(len(gains))
    middle = statistics.fmean(gains)
    return middle - half, middle + half


def measure(
    name: str, weights: Path, seeds: Sequence[int], params: dict[str, float] | None = None
) -> Iterator[dict[str, Any]]:
    """Per seed the share of right answers of the teacher, of the taught student and of the other.

    params: temperature and alpha; without them the technique's first variant.
    """
    import torch
    from reference_tools import ready

    import optimizers
    import zoo
    from gauge import targets
    from optimizers import Context
    from optimizers.distill import train
    from suites.world import evaluate, score

    model, target = zoo.get(name), targets.get("cpu")
    teacher = ready(model, weights)
    chosen = dict(params or optimizers.get("distill").variants[0])
    split = model.split("evaluation")

    def right(module: torch.nn.Module) -> float:
        joined = evaluate(module, split, target)
        return float(score(model, joined, split, joined).mean())

    said = right(teacher)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            context = Context(model, target, {}, seed, Path(folder))
            taught, told = train(context, teacher, chosen["temperature"], chosen["alpha"])
            alone, _ = train(context, None)
        yield {
            "model": name,
            "seed": seed,
            **chosen,
            "steps": told["steps"],
            "parameters": sum(one.numel() for one in taught.parameters()),
            "teacher": said,
            "taught": right(taught),
            "alone": right(alone),
        }


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown lines: a row a model and setting, gains in points with their 95 % intervals."""
    lines = [
        "| model | T | α | student | steps | seeds | teacher | taught | alone | gain, points |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["temperature"], row["alpha"]), []).append(row)
    for (model, temperature, alpha), group in groups.items():
        gains = [100 * (row["taught"] - row["alone"]) for row in group]
        taught, alone = (
            100 * statistics.fmean(row[name] for row in group) for name in ("taught", "alone")
        )
        low, high = paired_interval(gains)
        verdict = "" if low > 0 else ", no gain" if high < 0 else ", not told from zero"
        lines.append(
            f"| {model} | {temperature:g} | {alpha:g} | {group[0]['parameters']:,} | "
            f"{group[0]['steps']:,} | {len(group)} | {100 * group[0]['teacher']:.2f} % | "
            f"{taught:.2f} % | {alone:.2f} % | "
            f"{statistics.fmean(gains):+.2f} [{low:+.2f}, {high:+.2f}]{verdict} |"
        )
    return lines


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--alpha", type=float)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    params = None
    if chosen.temperature is not None and chosen.alpha is not None:
        params = {"temperature": chosen.temperature, "alpha": chosen.alpha}
    for row in measure(chosen.model, chosen.weights, range(chosen.seeds), params):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

"""What evolution gains over chance: both search the same space with the same number of trials.

For each seed and strategy: the trials' front, the hypervolume that it dominates (share of right
answers on the validation part, against multiply-accumulates as a share of the model's), and the
chosen candidate, trained like every other and scored once on the evaluation split. Beside them the
model's hand-designed student, trained for as long on the same samples.

    python tests/results_search.py MODEL WEIGHTS.safetensors --seeds 3 --trials 20

prints a line of JSON a seed, then a table. A search that was stopped goes on with --folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from results_distillation import LEAST_SEEDS, paired_interval

SEEDS = 3
TRIALS = 20


def hypervolume(trials: Sequence[Mapping[str, Any]], macs: int) -> float:
    """Area of score times saved products that some trial reaches; from 0 to 1.

    A point dominates every one with a lower score and more products; the corner is a score of
    zero with the model's own products (`macs`).
    """
    area, reached = 0.0, 0.0
    for saved, right in sorted(
        ((max(0.0, 1 - one["macs"] / macs), one["right"]) for one in trials), reverse=True
    ):
        if right > reached:
            area += saved * (right - reached)
            reached = right
    return area


def measure(
    name: str,
    weights: Path,
    seeds: Sequence[int],
    trials: int,
    folder: Path,
    budget: Mapping[str, float],
) -> Iterator[dict[str, Any]]:
    """A row a seed: both strategies' searches, and the student."""
    import torch
    from reference_tools import ready

    import zoo
    from gauge import targets
    from optimizers import Context
    from optimizers.nas_evolution import searched
    from optimizers.search_cost import cost
    from optimizers.search_evaluator import Evaluator
    from optimizers.search_space import SPACES
    from optimizers.search_trials import CHANCE, EVOLUTION
    from suites.world import evaluate, held_out, score

    model, target = zoo.get(name), targets.get("cpu")
    baseline = ready(model, weights)
    whole = cost(baseline, model.example(1))

    def right(module: torch.nn.Module) -> float:
        split = model.split("evaluation")
        joined = evaluate(module, split, target)
        return float(score(model, joined, split, joined).mean())

    for seed in seeds:
        row: dict[str, Any] = {"model": name, "seed": seed, "trials": trials, "budget": budget}
        row |= {"baseline": right(baseline), "macs": whole["macs"]}
        for strategy in (EVOLUTION, CHANCE):
            kept = folder / f"{name}-{seed}-{trials}-{strategy}"
            context = Context(model, target, {}, seed, kept, budget=dict(budget), kept=kept)
            with held_out(model):
                found = searched(baseline, context, trials, strategy).module
            search = context.notes["search"]
            row[strategy] = {
                "done": len(search["trials"]),
                "front": [search["trials"][number] for number in search["front"]],
                "hypervolume": hypervolume(search["trials"], whole["macs"]),
                "choice": context.notes["choice"],
                "validation": search["trials"][search["chosen"]]["right"],
                "missed_by": context.notes["budget"]["missed_by"],
                "evaluation": right(found),
                **cost(found, model.example(1)),
            }
        context = Context(model, target, {}, seed, folder)
        evaluator = Evaluator(context, SPACES[name], baseline)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            student = model.student()
        if student is not None:
            evaluator.finished(student)
            row["student"] = {"evaluation": right(student), **cost(student, model.example(1))}
        yield row


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown lines: a row a model and number of trials, gains with their 95 % intervals."""
    lines = [
        "| model | trials | seeds | FP32 | evolution | chance | student | gain, points | "
        "gain, hypervolume |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["model"], row["trials"], json.dumps(row["budget"], sort_keys=True))
        groups.setdefault(key, []).append(row)
    for (model, trials, _), group in groups.items():
        points = [
            100 * (row["evolution"]["evaluation"] - row["chance"]["evaluation"]) for row in group
        ]
        area = [row["evolution"]["hypervolume"] - row["chance"]["hypervolume"] for row in group]
        students = [row["student"] for row in group if "student" in row]
        lines.append(
            f"| {model} | {trials} | {len(group)} | "
            f"{100 * statistics.fmean(row['baseline'] for row in group):.2f} % | "
            f"{_arm([row['evolution'] for row in group])} | "
            f"{_arm([row['chance'] for row in group])} | "
            f"{_arm(students) if students else 'none'} | {_gain(points, 2)} | {_gain(area, 4)} |"
        )
    return lines


def _arm(found: Sequence[Mapping[str, Any]]) -> str:
    right = 100 * statistics.fmean(one["evaluation"] for one in found)
    return f"{right:.2f} %, {statistics.fmean(one['macs'] for one in found):,.0f} MACs"


def _gain(gains: Sequence[float], digits: int) -> str:
    middle = statistics.fmean(gains)
    if len(gains) < LEAST_SEEDS:
        return f"{middle:+.{digits}f} (an interval needs {LEAST_SEEDS} seeds)"
    low, high = paired_interval(gains)
    verdict = "" if low > 0 else ", a loss" if high < 0 else ", not told from zero"
    return f"{middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]{verdict}"


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--latency-budget", type=float, metavar="MS")
    parser.add_argument("--size-budget", type=float, metavar="MB")
    parser.add_argument("--folder", type=Path, help="keeps the searches, so that they go on here")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    stated = {"latency_ms": chosen.latency_budget, "size_mb": chosen.size_budget}
    budget = {name: most for name, most in stated.items() if most is not None}
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        seeds = range(chosen.seeds)
        rows = []
        for row in measure(chosen.model, chosen.weights, seeds, chosen.trials, folder, budget):
            rows.append(row)
            print(json.dumps(row), flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()

"""What a search gains over chance: each searches the same space with the same number of trials.

For each seed, evolution, the controller and chance propose candidates, which are trained and scored
once, whoever proposes them. Told of each: the hypervolume that its trials dominate (share of right
answers on the validation part, against multiply-accumulates as a share of the model's), and the
candidate it returns, trained like every other and scored once on the evaluation split. Beside them,
chosen and trained alike, what was designed by hand: the model scaled down in width; its student.

    python tests/results_search.py MODEL WEIGHTS.safetensors --size-budget 0.1 --lines FILE

prints a line of JSON a seed, then the tables. What was stopped goes on: seeds in FILE (of the same
weights) are not searched again, and --folder keeps the trials of the one that was not done.
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
ARMS = ("evolution", "reinforcement learning", "chance")
BY_HAND = ("scaled down", "student")


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
    known: Sequence[Mapping[str, Any]] = (),
) -> Iterator[dict[str, Any]]:
    """A row a seed: what each arm tried and returned, on one thread; or its row of those known."""
    import torch
    from reference_tools import ready

    import zoo
    from gauge import targets
    from optimizers import Context
    from optimizers.finetune import digest
    from optimizers.search import SCALED, searched
    from optimizers.search_cost import cost
    from optimizers.search_evaluator import Evaluator
    from optimizers.search_space import SPACES
    from suites.world import evaluate, held_out, score

    model, target = zoo.get(name), targets.get("cpu")
    baseline = ready(model, weights)
    whole = cost(baseline, model.example(1))
    setting = {"model": name, "trials": trials, "budget": dict(budget), "of": digest(baseline)}
    setting["rule"] = "one standard error"

    def right(module: torch.nn.Module) -> float:
        split = model.split("evaluation")
        joined = evaluate(module, split, target)
        return float(score(model, joined, split, joined).mean())

    def told(module: torch.nn.Module) -> dict[str, Any]:
        return {"evaluation": right(module), **cost(module, model.example(1))}

    for seed in seeds:
        row: dict[str, Any] = {**setting, "seed": seed}
        done = [one for one in known if all(one.get(key) == row[key] for key in row)]
        if done:
            yield dict(done[0])
            continue
        row |= {"baseline": right(baseline), "macs": whole["macs"]}
        kept = folder / f"{name}-{seed}"
        for strategy in ARMS:
            context = Context(model, target, {}, seed, kept, budget=dict(budget), kept=kept)
            with held_out(model):
                found = searched(baseline, context, trials, strategy).module
            search = context.notes["search"]
            row[strategy] = {
                "done": len(search["trials"]),
                "seconds": sum(one["seconds"] for one in search["trials"]),
                "hypervolume": hypervolume(search["trials"], whole["macs"]),
                "front": [search["trials"][number] for number in search["front"]],
                "choice": context.notes["choice"],
                "returned": search["returned"],
                "missed_by": context.notes["budget"]["missed_by"],
                **told(found),
            }
        scaled = search["beside"][SCALED]
        evaluator = Evaluator(context, SPACES[name], baseline, search["baseline_ms"])
        choice = scaled["trials"][scaled["chosen"]]["choice"]
        module = evaluator.built(choice)
        evaluator.finished(module)
        row[SCALED] = {"choice": choice, "done": len(scaled["trials"]), **told(module)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            student = model.student()
        if student is not None:
            evaluator.finished(student)
            row["student"] = told(student)
        yield row


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown lines: what each arm returned, and the gains over chance with 95 % intervals."""
    lines = [
        "| model | budget | trials | seeds | FP32 | "
        + " | ".join((*ARMS, *BY_HAND))
        + " |\n"
        + "| --- " * (5 + len(ARMS) + len(BY_HAND))
        + "|"
    ]
    gains = [
        "| model | search | trials | seeds | gain, points | gain, hypervolume |\n"
        "| --- | --- | --- | --- | --- | --- |"
    ]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        stated = json.dumps(row["budget"], sort_keys=True)
        groups.setdefault((row["model"], row["trials"], stated), []).append(row)
    for (model, trials, _), group in groups.items():
        arms = [_arm([row[name] for row in group if name in row]) for name in (*ARMS, *BY_HAND)]
        lines.append(
            f"| {model} | {_budget(group[0]['budget'])} | {trials} | {len(group)} | "
            f"{100 * statistics.fmean(row['baseline'] for row in group):.2f} % | "
            f"{' | '.join(arms)} |"
        )
        for name in ARMS[:-1]:
            pairs = [(row[name], row["chance"]) for row in group]
            points = [100 * (ours["evaluation"] - luck["evaluation"]) for ours, luck in pairs]
            area = [ours["hypervolume"] - luck["hypervolume"] for ours, luck in pairs]
            gains.append(
                f"| {model} | {name} | {trials} | {len(group)} | {_gain(points, 2)} | "
                f"{_gain(area, 4)} |"
            )
    return [*"\n".join([*lines, "", *gains]).split("\n")]


def _budget(budget: Mapping[str, float]) -> str:
    units = {"latency_ms": "ms", "size_mb": "MB"}
    return ", ".join(f"{most:g} {units[name]}" for name, most in budget.items()) or "none"


def _arm(found: Sequence[Mapping[str, Any]]) -> str:
    """Means over the seeds."""
    if not found:
        return "none"
    right = 100 * statistics.fmean(one["evaluation"] for one in found)
    size = statistics.fmean(one["bytes"] for one in found) / 1e6
    products = statistics.fmean(one["macs"] for one in found) / 1e6
    return f"{right:.2f} %, {size:.3f} MB, {products:.2f} M products"


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
    parser.add_argument("--folder", type=Path, help="keeps the trials of a stopped seed")
    parser.add_argument("--lines", type=Path, help="keeps the lines of seeds that are done")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    stated = {"latency_ms": chosen.latency_budget, "size_mb": chosen.size_budget}
    budget = {name: most for name, most in stated.items() if most is not None}
    kept = chosen.lines.read_text().splitlines() if chosen.lines and chosen.lines.exists() else []
    known = [json.loads(line) for line in kept]
    rows, seeds = [], range(chosen.seeds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        for row in measure(
            chosen.model, chosen.weights, seeds, chosen.trials, folder, budget, known
        ):
            rows.append(row)
            line = json.dumps(row)
            print(line, flush=True)
            if chosen.lines and row not in known:
                with chosen.lines.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()

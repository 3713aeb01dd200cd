"""Judging how a technique trains: its steps, and what the trained models score."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gauge.judge_parts import against, finite, limit_part, verdict
from gauge.policy_entry import Limit, NoExpectation
from gauge.verdict import Status, Verdict

PASS_LEVEL, FAIL_LEVEL = 0.05, 0.005
"""One-sided, as the accuracy gate's are."""

LEAST_SCALE = 1.0
"""Below it the loss is made smaller: gradients overflow by themselves, and halving goes on."""


def judge_training_steps(
    runs: Sequence[Mapping[str, Any]], limit: Limit | NoExpectation
) -> Verdict:
    """Every training must have taken its steps, with finite numbers, in the asked format.

    runs: one training each: "seed", "attempted" and "taken" steps, "settling" (those that were
    skipped before the first that was taken), "nonfinite_losses", "nonfinite_weights", "layers" and
    "low" (those that answered in "dtype"), "scaled" (whether the format needs a scaled loss),
    "scale" (the last, or None). The value is the least share of steps taken since one was: a run
    whose steps were all skipped fails whatever the limit.

    Settling does not count, because it is how dynamic loss scaling begins (Micikevicius et al.,
    2018): with a scale that is too large, halved at every overflow until gradients are finite. At
    2^16 (PyTorch's) that takes 16 steps at most: the 17th would end below 1, which is a fault;
    it says how large gradients are, and nothing of whether training goes on.
    """
    parts: dict[str, Any] = {"limit": limit_part(limit), "evidence": {"runs": list(runs)}}
    if not runs:
        return verdict("training_steps", Status.FAIL, **parts, reason="no training was told of")
    faults = [f"seed {run['seed']}: {fault}" for run in runs if (fault := _fault(run))]
    value = min(map(_share, runs))
    if faults:
        reason = "; ".join(faults)
        return verdict("training_steps", Status.FAIL, value=value, **parts, reason=reason)
    worst = min(runs, key=_share)
    settled = worst["attempted"] - worst["settling"]
    what = f"seed {worst['seed']} skipped {settled - worst['taken']} of {settled} steps"
    if worst["settling"]:
        what += f" after {worst['settling']} in which the loss's scale settled"
    status, why = against(limit, value, f"{what}: {value:.3f} were taken")
    return verdict("training_steps", status, value=value, **parts, reason=why)


def _share(run: Mapping[str, Any]) -> float:
    """Of the steps since the first that was taken, those that were; 0 where none was."""
    settled = run["attempted"] - run["settling"]
    return run["taken"] / settled if settled > 0 else 0.0


def _fault(run: Mapping[str, Any]) -> str | None:
    """Why what a training gave means nothing, or None."""
    attempted, taken, lost = run["attempted"], run["taken"], run["nonfinite_losses"]
    if not attempted:
        return "no step was taken"
    if not 0 <= taken <= attempted - run["settling"] <= attempted:
        return f"{taken} updates in {attempted} steps, {run['settling']} before the first"
    if lost:
        return f"non-finite losses, {lost} of {attempted}"
    if not taken:
        return f"all {attempted} steps were skipped: nothing was trained"
    if run["nonfinite_weights"]:
        return f"non-finite weights, {run['nonfinite_weights']} of them"
    if not run["low"]:
        return f"autocast changed nothing: none of {run['layers']} layers ran in {run['dtype']}"
    scale = run["scale"]
    if run["scaled"] and not (finite(scale) and scale >= LEAST_SCALE):
        if scale is None:
            return f"the loss was not scaled, and small gradients vanish in {run['dtype']}"
        return f"the loss's scale fell to {scale:g}: gradients overflow at any scale"
    return None


def judge_training_accuracy(m: Mapping[str, Any], limit: Limit | NoExpectation) -> Verdict:
    """The mean score over seeds may drop by no more than the limit.

    m: "baseline" and "candidate": the mean score of each seed's model on the same "samples"
    evaluation samples, in the order of "seeds". The replicate is the seed, both sides start from
    the same weights and see the same batches: a paired t test (Student, 1908), PASS where the
    one-sided 95 % bound is under the limit and FAIL where the 99.5 % bound is over it.
    """
    old, new = list(m["baseline"]), list(m["candidate"])
    parts: dict[str, Any] = {
        "limit": limit_part(limit),
        "baseline": {"score": statistics.fmean(old) if old else None, "n": m["samples"]},
        "candidate": {"score": statistics.fmean(new) if new else None, "n": m["samples"]},
        "evidence": {"seeds": m["seeds"], "scores": {"baseline": old, "candidate": new}},
    }
    if len(old) != len(new) or len(old) < 2:
        why = f"{len(old)} and {len(new)} trainings do not give an interval over seeds"
        return verdict("training_accuracy", Status.ERROR, **parts, reason=why)
    if not all(map(finite, old)):
        why = "a score of FP32 training is not finite"
        return verdict("training_accuracy", Status.ERROR, **parts, reason=why)
    if not all(map(finite, new)):
        return verdict("training_accuracy", Status.FAIL, **parts, reason="non-finite scores")
    drops = [before - after for before, after in zip(old, new, strict=True)]
    drop = statistics.fmean(drops)
    # Seeds that happen to lose alike say nothing finer than one sample.
    sigma = max(statistics.stdev(drops), 1 / m["samples"])
    low, high = (_half(len(drops), level, sigma) for level in (FAIL_LEVEL, PASS_LEVEL))
    parts |= {"value": drop, "low": drop - low, "high": drop + high}
    parts["evidence"] |= {"drops": drops, "sigma": sigma, "method": "paired t over seeds"}
    if isinstance(limit, NoExpectation):
        return verdict("training_accuracy", Status.NO_EXPECTATION, **parts, reason=limit.reason)
    told = f"drop {100 * drop:.2f} points over {len(drops)} seeds"
    if drop + high < limit.bound:
        return verdict("training_accuracy", Status.PASS, **parts)
    if drop - low > limit.bound:
        why = f"{told}, and at most {100 * limit.bound:g} are allowed"
        return verdict("training_accuracy", Status.FAIL, **parts, reason=why)
    why = (
        f"undecided: {told} ({100 * (drop - low):.2f} to {100 * (drop + high):.2f}) against at "
        f"most {100 * limit.bound:g}; seeds differ by {100 * sigma:.2f} points (SD)"
    )
    return verdict("training_accuracy", Status.INCONCLUSIVE, **parts, reason=why)


def _half(count: int, level: float, sigma: float) -> float:
    from scipy import special

    return -float(special.stdtrit(count - 1, level)) * sigma / math.sqrt(count)

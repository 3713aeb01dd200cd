"""Is a candidate fast enough? A group-sequential test on the log-ratios of processes.

One process gives one number, the log of baseline time over candidate time: the replicate is the
process. At each look a t test with the cell's own variance compares their mean with the limit.
The nominal levels spend a total error (K. Lan, D. DeMets, Biometrika 70, 1983) at information
K / 12: Pocock-like .04 for PASS, O'Brien-Fleming-like .001 for FAIL, with a known variance (t tests
at successive looks are less alike than the z tests that the levels are made for). Simulated at the
limit with 400,000 sequences (gauge.simulation), shares of PASS and of a first FAIL: .048 and .0010
under normal noise, .040 and .0006 under t4, .044 and .0008 with 5 % contaminated, .037 and .0005
with a σ that differs between processes; of all those FAILs one was confirmed. What the test cannot
bear is autocorrelation between a cell's processes: .140 and .014 (.0003 confirmed) under AR(1) with
0.4, so cells take turns. Pooling variances over cells was tried: noisy cells then fail falsely up
to 45 times too often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

LOOKS = (2, 3, 4, 6, 8, 12)
QUICK_LOOKS = (2, 3, 4)
"""Numbers of processes after which a cell is looked at; quick effort stops at 4."""

PASS_LEVELS = {2: 0.0101, 3: 0.0076, 4: 0.0080, 6: 0.0114, 8: 0.0124, 12: 0.0172}
FAIL_LEVELS = {2: 7.6e-16, 3: 4.7e-11, 4: 1.2e-8, 6: 3.26e-6, 8: 5.46e-5, 12: 9.8e-4}
"""One-sided p value at which each look decides."""

# Equal ratios happen with coarse clocks. Without a floor, rounding alone would then decide a cell
# that sits exactly at its limit; real noise between processes is a million times larger.
_SIGMA_FLOOR = 1e-9

AA_LEVEL = 0.001
AA_TOLERANCE = 0.01
AA_SIGMA = 0.009
"""A/A cells: their one-sided level together, the ratio that is still equal, the SD to warn at."""


class Outcome(StrEnum):
    """What a sequence of processes says so far."""

    PASS = "PASS"
    FAIL = "FAIL"
    CONTINUE = "CONTINUE"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Decision:
    """value, low, high: ratios; None where fewer than two processes ran. sigma: SD of a log-ratio.

    low is the bound that PASS needs above the limit, high its mirror image. look: how many
    processes the decision rests on, 0 for none.
    """

    status: Outcome
    look: int
    value: float | None
    low: float | None
    high: float | None
    sigma: float | None
    reason: str | None = None


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of at least two values."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, max(math.sqrt(variance), _SIGMA_FLOOR)


def _quantile(df: int, level: float) -> float:
    """The t value that a share `level` of Student's distribution lies above."""
    from scipy import special

    return -float(special.stdtrit(df, level))


def decide(
    log_ratios: Sequence[float], limit_ratio: float, looks: Sequence[int] = LOOKS
) -> Decision:
    """Look at a sequence of log-ratios (natural; baseline time over candidate time) in order.

    The first look that decides does so for good, however many processes follow, so judging a
    kept sequence again gives the same answer. CONTINUE until the last look, then INCONCLUSIVE.
    ValueError for a limit that is no positive number or a ratio that is not finite.
    """
    if not (math.isfinite(limit_ratio) and limit_ratio > 0):
        raise ValueError(f"a speed limit of {limit_ratio} is no positive number")
    if not all(math.isfinite(value) for value in log_ratios):
        raise ValueError("a log-ratio is not finite")
    for look in looks:
        if look > len(log_ratios):
            break
        decision = _look(log_ratios[:look], math.log(limit_ratio))
        if decision.status is not Outcome.CONTINUE:
            return decision
    shown = estimate(log_ratios)
    if len(log_ratios) < looks[-1]:
        return shown
    return replace(shown, status=Outcome.INCONCLUSIVE, reason=_undecided(shown, limit_ratio))


def _look(values: Sequence[float], log_limit: float) -> Decision:
    from scipy import special

    count = len(values)
    mean, sigma = _moments(values)
    t = (mean - log_limit) / (sigma / math.sqrt(count))
    shown = estimate(values)
    # The p values come from the lower tail both times: the upper one loses all digits at 1e-16.
    if special.stdtr(count - 1, -t) <= PASS_LEVELS[count]:
        return replace(shown, status=Outcome.PASS)
    if special.stdtr(count - 1, t) <= FAIL_LEVELS[count]:
        return replace(shown, status=Outcome.FAIL)
    return shown


def estimate(log_ratios: Sequence[float]) -> Decision:
    """The ratio and its interval, undecided: what a cell without a limit reports."""
    count = len(log_ratios)
    if count < 2:
        value = _exp(log_ratios[0]) if count else None
        return Decision(Outcome.CONTINUE, count, value, None, None, None)
    mean, sigma = _moments(log_ratios)
    level = PASS_LEVELS[max(look for look in LOOKS if look <= count)]
    half = _quantile(count - 1, level) * sigma / math.sqrt(count)
    return Decision(
        status=Outcome.CONTINUE,
        look=count,
        value=_exp(mean),
        low=_exp(mean - half),
        high=_exp(mean + half),
        sigma=sigma,
    )


def _exp(value: float) -> float:
    """exp without overflow: two processes far apart have an enormous upper bound."""
    return math.exp(value) if value < 700 else math.inf


def ratio_text(ratio: float | None) -> str:
    """A ratio as people read it: three decimals near 1, where they matter."""
    if ratio is None:
        return "unknown"
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 1e6 else f"{ratio:.1e}"


def decision_text(decision: Decision) -> str:
    """The ratio with its interval, as one phrase."""
    if decision.low is None:
        return ratio_text(decision.value)
    return (
        f"{ratio_text(decision.value)} ({ratio_text(decision.low)} to {ratio_text(decision.high)})"
    )


def _undecided(decision: Decision, limit: float) -> str:
    sigma = decision.sigma or 0.0
    return (
        f"undecided after {decision.look} processes: {decision_text(decision)} against at least "
        f"{limit:g}; σ between processes is {100 * sigma:.2f} %, "
        f"which resolves a distance of {200 * sigma:.2f} %"
    )


def conclude(first: Decision, confirming: Decision | None) -> Decision:
    """The final decision: a FAIL counts when one fresh run of processes FAILs as well."""
    if first.status is not Outcome.FAIL:
        return first
    if confirming is not None and confirming.status is Outcome.FAIL:
        return replace(first, reason=f"confirmed by a fresh run ({_shown(confirming)})")
    if confirming is None or confirming.status is Outcome.CONTINUE:
        reason = "below the limit, but no fresh run was completed to confirm it"
    else:
        reason = f"not reproduced: {_shown(first)} at first, {_shown(confirming)} in a fresh run"
    return replace(first, status=Outcome.INCONCLUSIVE, reason=reason)


def _shown(decision: Decision) -> str:
    return f"{ratio_text(decision.value)} after {decision.look} processes"


@dataclass(frozen=True)
class ControlCell:
    """One A/A cell: FP32 against its own copy; value, low, high are ratios, sd of a log-ratio."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    sd: float | None
    processes: int
    contaminated: bool


@dataclass(frozen=True)
class Control:
    """What the A/A cells say about a run; sd is their common SD, warning a sentence or None."""

    cells: tuple[ControlCell, ...]
    contaminated: bool
    sd: float | None
    warning: str | None


def control(log_ratios: Mapping[str, Sequence[float]]) -> Control:
    """Judge the A/A cells of a run, name to log-ratios.

    The run is contaminated when an interval (one-sided .001 over the number of cells) lies wholly
    outside ±1 %. An SD above 0.9 % is a warning: limits will then take more processes to decide.
    ValueError for a ratio that is not finite.
    """
    level = AA_LEVEL / max(1, len(log_ratios))
    cells = tuple(_control_cell(name, values, level) for name, values in log_ratios.items())
    variances = [(cell.sd**2, cell.processes - 1) for cell in cells if cell.sd is not None]
    weight = sum(count for _, count in variances)
    sd = (
        math.sqrt(sum(variance * count for variance, count in variances) / weight)
        if weight
        else None
    )
    warning = None
    if sd is None:
        warning = "no A/A cell was measured"
    elif sd > AA_SIGMA:
        warning = f"SD of the A/A cells is {100 * sd:.1f} % (above {100 * AA_SIGMA:.1f} %: noisy)"
    return Control(cells, any(cell.contaminated for cell in cells), sd, warning)


def _control_cell(name: str, values: Sequence[float], level: float) -> ControlCell:
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"a log-ratio of {name} is not finite")
    if len(values) < 2:
        value = _exp(values[0]) if values else None
        return ControlCell(name, value, None, None, None, len(values), False)
    mean, sigma = _moments(values)
    half = _quantile(len(values) - 1, level) * sigma / math.sqrt(len(values))
    low, high = mean - half, mean + half
    outside = low > math.log1p(AA_TOLERANCE) or high < math.log1p(-AA_TOLERANCE)
    return ControlCell(name, _exp(mean), _exp(low), _exp(high), sigma, len(values), outside)

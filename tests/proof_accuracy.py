"""The accuracy gate's error rates: computed exactly, simulated, and on a model that really errs.

Each public function takes a seed and how many runs to make of each row, and returns plain data:
{"rows": [...], "worst": {...}, "goal": "…", "kept": bool}. A row holds counts ("passed", "failed",
"of"), so that whoever prints them can put exact binomial intervals to them.

The rule is written here a second time, over arrays: a test holds both to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import special
from scipy.stats import norm

from gauge.groups import PLANNED_CORRELATION
from gauge.margins import FAIL_LEVEL, FEW, PASS_LEVEL
from gauge.paired import compare
from gauge.verdict import Status

MOST_PASS, MOST_FAIL = 0.054, 0.012
"""The sizes that the gate claims, nominal .05 and .005."""

MARGINS = (0.005, 0.01, 0.02)
SHARES = (0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.05, 0.08, 0.12, 0.2)
SIZES = (200, 250, 299, 300, 320, 400, 500, 600, 700, 800, 1000, 1250, 1500, 2000, 3000, 4000, 5000)
DROPS = (0.0, 0.005, 0.01, 0.02)
SPREAD = 9.0
"""Standard deviations of a count that the exact sums reach; what is beyond is below 1e-12."""

Numbers = np.ndarray


def statistic(b: Numbers, c: Numbers, n: Numbers, drop: float) -> Numbers:
    """Tango's score statistic, elementwise."""
    first = -b - c + (2 * n - b + c) * drop
    root = np.sqrt(np.maximum(0.0, first**2 + 8 * n * c * drop * (1 - drop)))
    variance = n * ((root - first) / (2 * n) + drop * (1 - drop))
    return (b - c - n * drop) / np.sqrt(np.maximum(variance, 1e-300))


def decided(
    b: Numbers,
    c: Numbers,
    n: Numbers,
    margin: float,
    effects: tuple[Any, Any] = (1.0, 1.0),
    degrees: int | None = None,
) -> tuple[Numbers, Numbers]:
    """Whether each pair of counts PASSes and FAILs; effects: of design, for PASS and for FAIL."""
    t = [special.ndtri(p) if degrees is None else special.stdtrit(degrees, p) for p in LEVELS]
    lost, gained, of = (value / effects[0] for value in (b, c, n))
    passes = statistic(lost, gained, of, margin) < -t[0]
    tail = special.betainc(np.maximum(of - lost, 1e-9), lost + 1, 1 - margin)
    passes &= (lost + gained >= FEW) | (tail <= 1 - PASS_LEVEL)
    lost, gained, of = (value / effects[1] for value in (b, c, n))
    fails = statistic(lost, gained, of, margin) > t[1]
    net = np.maximum(lost - gained, 1e-9)
    tail = special.betainc(net, np.maximum(of - net + 1, 1e-9), margin)
    fails &= (lost + gained >= FEW) | ((lost > gained) & (tail <= 1 - FAIL_LEVEL))
    return passes, fails


LEVELS = (PASS_LEVEL, FAIL_LEVEL)


def exact(n: int, share: float, margin: float, drop: float) -> tuple[float, float]:
    """P(PASS) and P(FAIL) of n independent samples, summed over every pair of counts."""
    rates = (share + drop) / 2, max(0.0, (share - drop) / 2)
    spans = []
    for rate in rates:
        reach = SPREAD * np.sqrt(n * rate) + 20
        spans.append(np.arange(max(0, int(n * rate - reach)), min(n, int(n * rate + reach)) + 1))
    b, c = spans[0][:, None].astype(float), spans[1][None, :].astype(float)
    rest = np.maximum(n - b - c, 0)
    log = special.gammaln(n + 1) - sum(special.gammaln(one + 1) for one in (b, c, rest))
    log = log + special.xlogy(b, rates[0]) + special.xlogy(c, rates[1])
    weight = np.where(b + c <= n, np.exp(log + special.xlogy(rest, 1 - share)), 0.0)
    passes, fails = decided(b, c, np.float64(n), margin)
    return float((weight * passes).sum()), float((weight * fails).sum())


def approximate(n: int, share: float, margin: float, drop: float) -> tuple[float, float]:
    """The same by the normal approximation that `n >= 8.6 share / margin^2` comes from."""
    error = np.sqrt((share - drop**2) / n)
    away = (margin - drop) / error
    return float(norm.cdf(away - norm.ppf(LEVELS[0]))), float(norm.cdf(-away - norm.ppf(LEVELS[1])))


def _simulated(
    random: np.random.Generator, n: int, share: float, margin: float, drop: float, count: int
) -> dict[str, int]:
    lost, gained = (share + drop) / 2, max(0.0, (share - drop) / 2)
    pairs = random.multinomial(n, [lost, gained, 1 - lost - gained], size=count).astype(float)
    passes, fails = decided(pairs[:, 0], pairs[:, 1], np.float64(n), margin)
    return {"passed": int(passes.sum()), "failed": int(fails.sum()), "of": count}


def _summary(rows: list[dict[str, Any]], goal: str, wanted: bool) -> dict[str, Any]:
    worst = {key: max(row[key] for row in rows) for key in ("pass", "fail") if key in rows[0]}
    return {"rows": rows, "worst": worst, "goal": goal, "kept": bool(wanted)}


def sizes(seed: int, count: int) -> dict[str, Any]:
    """A true drop at the margin: PASS and FAIL are the errors. Independent samples."""
    random = np.random.default_rng(seed)
    rows = []
    for margin, n, share in _grid():
        passing, failing = exact(n, share, margin, margin)
        found = _simulated(random, n, share, margin, margin, count)
        rows.append({"n": n, "share": share, "margin": margin, "pass": passing, "fail": failing})
        rows[-1] |= found
    kept = all(row["pass"] <= MOST_PASS and row["fail"] <= MOST_FAIL for row in rows)
    goal = f"PASS at most {MOST_PASS:.1%}, FAIL at most {MOST_FAIL:.1%}, at the margin"
    return _summary(rows, goal, kept)


def _grid() -> Iterator[tuple[float, int, float]]:
    for margin in MARGINS:
        for n in SIZES:
            yield from ((margin, n, share) for share in SHARES if share >= margin)


def powers(seed: int, count: int) -> dict[str, Any]:
    """Drops of 0, 0.5, 1 and 2 points, injected into 2,000 samples and held to one point."""
    random = np.random.default_rng(seed)
    rows = []
    for drop in DROPS:
        for share in (0.01, 0.02, 0.03, 0.05):
            if share < drop:
                continue
            passing, failing = exact(2000, share, 0.01, drop)
            near = approximate(2000, share, 0.01, drop)
            rows.append({"n": 2000, "share": share, "margin": 0.01, "drop": drop})
            rows[-1] |= {"pass": passing, "fail": failing}
            rows[-1] |= {"normal_pass": near[0], "normal_fail": near[1]}
            rows[-1] |= _simulated(random, 2000, share, 0.01, drop, count)
    wrong = [row for row in rows if row["drop"] >= 0.01 and row["pass"] > MOST_PASS]
    wrong += [row for row in rows if row["drop"] <= 0.01 and row["fail"] > MOST_FAIL]
    return _summary(rows, "size and power as computed; a drop of 2 points never passes", not wrong)


LAYOUTS = ((13, 80), (32, 10), (8, 100), (20, 50), (60, 20), (200, 10))
"""Groups and samples in each; the first two are the zoo's photos and templates."""


def drawn(
    random: np.random.Generator, runs: int, groups: int, size: int, rate: float, correlation: float
) -> Numbers:
    """Beta-binomial counts [runs, groups]: how often something happens in each group."""
    if rate <= 0 or correlation <= 0:
        return random.binomial(size, max(0.0, rate), (runs, groups)).astype(float)
    weight = (1 - correlation) / correlation
    rates = random.beta(rate * weight, (1 - rate) * weight, (runs, groups))
    return random.binomial(size, rates).astype(float)


def effects(lost: Numbers, gained: Numbers, size: int) -> tuple[Numbers, Numbers]:
    """Design effects [runs] for PASS and for FAIL, of groups that are all equally large."""
    groups = lost.shape[1]
    n, net = groups * size, lost - gained
    mean = net.mean(1, keepdims=True)
    between = groups / (groups - 1) * ((net - mean) ** 2).sum(1)
    alone = (lost + gained).sum(1) - net.sum(1) ** 2 / n
    seen = np.maximum(1.0, np.divide(between, alone, out=np.ones_like(alone), where=alone > 0))
    return np.maximum(seen, 1 + (size - 1) * PLANNED_CORRELATION), seen


def grouped(seed: int, count: int) -> dict[str, Any]:
    """A true drop at the margin in samples that share photos or templates.

    Claimed up to the planned correlation; what happens beyond it is told in the rows.
    """
    random = np.random.default_rng(seed)
    rows = []
    for groups, size in LAYOUTS:
        for margin in (0.01, 0.02, 0.03):
            for correlation in (0.0, 0.05, PLANNED_CORRELATION, 0.2):
                for gains in (0.0, margin):
                    lost = drawn(random, count, groups, size, margin + gains, correlation)
                    gained = drawn(random, count, groups, size, gains, correlation)
                    weigh = effects(lost, gained, size)
                    b, c = lost.sum(1), gained.sum(1)
                    n = np.float64(groups * size)
                    passes, fails = decided(b, c, n, margin, weigh, groups - 1)
                    row = {"groups": groups, "size": size, "margin": margin, "gains": gains}
                    row |= {"correlation": correlation, "of": count}
                    row |= {"passed": int(passes.sum()), "failed": int(fails.sum())}
                    row |= {"pass": row["passed"] / count, "fail": row["failed"] / count}
                    rows.append(row)
    claimed = [row for row in rows if row["correlation"] <= PLANNED_CORRELATION]
    slack = 3 * np.sqrt(MOST_PASS / count), 3 * np.sqrt(MOST_FAIL / count)
    kept = all(
        row["pass"] <= MOST_PASS + slack[0] and row["fail"] <= MOST_FAIL + slack[1]
        for row in claimed
    )
    goal = f"as for independent samples, up to a correlation of {PLANNED_CORRELATION:g} in groups"
    return _summary(rows, goal, kept)


LAYOUTS_OF_SCORES = ((32, 10), (100, 4), (400, 1))
SHAPES = ("normal", "uniform", "t4", "exponential", "gain")


def differences(random: np.random.Generator, shape: str, groups: int, size: int) -> Numbers:
    """Paired differences [groups * size] with mean 0: a group's own drop, and noise in it."""
    own = {
        "normal": lambda: random.normal(0, 1, groups),
        "uniform": lambda: random.uniform(-1.7, 1.7, groups),
        "t4": lambda: random.standard_t(4, groups),
        "exponential": lambda: random.exponential(1, groups) - 1,
        "gain": lambda: 1 - random.exponential(1, groups),
    }[shape]()
    return (own[:, None] + random.normal(0, 0.5, (groups, size))).ravel()


def scores(seed: int, count: int) -> dict[str, Any]:
    """Scores that are not right or wrong (cosine, regression error): the bootstrap over groups."""
    random = np.random.default_rng(seed)
    rows = []
    for groups, size in LAYOUTS_OF_SCORES:
        ids = np.repeat(np.arange(groups), size).tolist() if size > 1 else None
        for shape in SHAPES:
            found = []
            for run in range(count):
                # Small beside the margin's distance from 0, so that the guards stay out of it.
                change = 0.01 + 0.002 * differences(random, shape, groups, size)
                old = random.uniform(0.5, 0.9, groups * size)
                found.append(compare(old, old - change, 0.01, ids, seed=run).status)
            passed, failed = found.count(Status.PASS), found.count(Status.FAIL)
            row = {"groups": groups, "size": size, "shape": shape, "of": count}
            row |= {"passed": passed, "failed": failed}
            row |= {"pass": passed / count, "fail": failed / count}
            rows.append(row)
    slack = 3 * np.sqrt(MOST_PASS / count), 3 * np.sqrt(MOST_FAIL / count)
    kept = all(
        row["pass"] <= MOST_PASS + slack[0] and row["fail"] <= MOST_FAIL + slack[1] for row in rows
    )
    return _summary(rows, "as for right and wrong answers, from 30 groups on", kept)

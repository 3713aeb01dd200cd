"""The accuracy gate on a model that really answers worse, through the whole suite.

As the functions of `proof_accuracy`: a seed and a count in, plain data out.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from proof_accuracy import decided
from running import PLUGINS, suites

MODEL = "digits_mlp"
SHARES_WRONG = (0.0, 0.005, 0.01, 0.02, 0.04)


def end_to_end(seed: int, count: int) -> dict[str, Any]:
    """A model of the zoo made to answer a share of its inputs wrongly, through the whole suite.

    count: candidates for each share. Each verdict must be the one that the rule has for the counts,
    and no gate may pass a drop that the rule does not.
    """
    random = np.random.default_rng(seed)
    salts = random.choice(10_000, size=count, replace=False).tolist()
    names = [f"wrong_answers:{share:g}:{salt}" for share in SHARES_WRONG for salt in salts]
    words = [word for name in names for word in ("--technique", name)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        ran = suites(
            Path(folder) / "out",
            Path(folder) / "cache",
            f"--plugin={PLUGINS / 'wrong_answers.py'}",
            f"--model={MODEL}",
            *("-k", "accuracy"),
            *words,
        )
        for name in names:
            record = ran.verdicts(f"{MODEL}-{name}-cpu").get("accuracy")
            if record is None:
                raise RuntimeError(f"{name} has no accuracy verdict: {ran.output[-2000:]}")
            rows.append(_row(name, record))
    kept = all(row["status"] == row["expected"] for row in rows)
    return {"rows": rows, "goal": "every verdict is the rule's for what was counted", "kept": kept}


def _row(name: str, record: dict[str, Any]) -> dict[str, Any]:
    evidence, n = record["evidence"], record["candidate"]["n"]
    b, c, margin = evidence["b"], evidence["c"], record["limit"]["max"]
    passes, fails = decided(np.float64(b), np.float64(c), np.float64(n), margin)
    expected = "PASS" if passes else "FAIL" if fails else "INCONCLUSIVE"
    return {
        "candidate": name,
        "share": float(name.split(":")[1]),
        "n": n,
        "lost": b,
        "gained": c,
        "drop": record["value"],
        "margin": margin,
        "status": record["status"],
        "expected": expected,
        "reason": record["reason"],
    }

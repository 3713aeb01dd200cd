"""A verdict as a pytest outcome."""

from __future__ import annotations

import pytest

from gauge.verdict import Status, Verdict

FAILS = {
    "nightly": {Status.FAIL, Status.ERROR},
    "release": {Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.NO_BASELINE},
}


def raise_outcome(verdict: Verdict, gate: str) -> None:
    """Return for PASS; else fail, xfail or skip the test with the verdict's reason."""
    if verdict.status is Status.PASS:
        return
    text = f"{verdict.status}: {verdict.reason}"
    if verdict.status in FAILS[gate]:
        pytest.fail(text, pytrace=False)
    if verdict.status in (Status.INCONCLUSIVE, Status.WAIVED):
        pytest.xfail(text)
    pytest.skip(text)

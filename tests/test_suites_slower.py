"""What is slower than eager FP32 fails, with all that its reader asks (OPT-01, OPT-24)."""

from __future__ import annotations

import pytest
from running import PLUGINS, Ran, suites

TECHNIQUES = ("dynamic_int8", "compile")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("slower")
    return suites(
        folder / "out",
        folder / "cache",
        f"--plugin={PLUGINS / 'cases.py'}",
        "--model=tiny_linear",
        "--batch=1",
        "-k",
        "not memory",
        *(word for name in TECHNIQUES for word in ("--technique", name)),
    )


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_slower_cell_fails_and_tells_medians_shape_threads_and_flags(ran, technique):
    record = ran.verdicts(f"tiny_linear-{technique}-cpu")["speed-b1"]
    assert record["status"] == "FAIL", record["reason"]
    assert record["high"] < 1
    for part in (
        "at least 1 is asked",
        "baseline",
        "candidate",
        "1 thread",
        "batch 1",
        "CPU flags",
    ):
        assert part in record["reason"]


def test_a_smaller_file_does_not_make_up_for_it(ran):
    assert ran.code == 1


def test_compiling_is_a_time_of_its_own_and_no_latency(ran):
    verdicts = ran.verdicts("tiny_linear-compile-cpu")
    assert verdicts["evidence"]["evidence"]["first_answer_seconds"] > 0.1
    assert verdicts["speed-b1"]["candidate"]["median_s"] < 0.01

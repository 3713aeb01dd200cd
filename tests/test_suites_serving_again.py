"""A failure under load is measured once more: fresh processes of both sides, in turns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gauge.policy import Limit
from gauge.verdict import Status
from suites import catalog, matrix, serving_verdicts
from suites.serving import Serving

CATALOG = catalog.read()
BASE, CELL = (
    matrix.cell(CATALOG, "digits_mlp", technique, "cpu") for technique in ("none", "onnxruntime")
)


class Engine:
    """Runs no load: each job's rate comes from `rate`, and its label is kept."""

    catalog = CATALOG

    def __init__(self, folder: Path, rate: Any) -> None:
        self.settings = SimpleNamespace(
            effort="standard",
            traffic=None,
            report=folder,
            deadline=0.05,
            threads=SimpleNamespace(count=1),
        )
        self.rate, self.asked, self.kept = rate, [], {}

    def once(self, key: Any, make: Any) -> Any:
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def device_of(self, target: str) -> str:
        return target

    def arm(self, cell: Any) -> dict[str, Any]:
        return {"model": cell.model}

    def artifact(self, cell: Any) -> Any:
        return SimpleNamespace(path="artifact", meta={"tolerance": 0.0})

    def baseline(self, *_: Any) -> Any:
        return SimpleNamespace(outputs="outputs")

    def job(self, function: str, label: str, *_: Any, **__: Any) -> dict[str, Any]:
        self.asked.append((function, label))
        fresh = sum(one == function for one, _ in self.asked)
        run = {"scenario": "Server", "valid": True, "reasons": [], "advice": None}
        run |= {"rate": self.rate(label, fresh), "largest_batch": 8, "wait_ms": 0.0}
        point = {"rate": run["rate"], "p99_s": 0.01, "largest_batch": 8, "wait_ms": 0.0}
        facts = dict.fromkeys(("own_cpu", "deadline_s", "least_seconds", "samples", "machine"))
        return {
            **facts,
            "best": run,
            "batch_1": run,
            "offline": run,
            "search": {"best": point, "nearest": point},
            "loadgen": {},
        }


def judged(folder: Path, rate: Any) -> tuple[Any, Engine]:
    engine = Engine(folder, rate)
    run = SimpleNamespace(
        serving=Serving(engine),  # type: ignore[arg-type]
        settings=engine.settings,
        engine=engine,
        limit=lambda cell, gate, batch: Limit(gate, min=1.0),
    )
    return serving_verdicts.GATES["realtime_rate"](run, CELL, None), engine  # type: ignore[arg-type]


def labels(engine: Engine) -> list[str]:
    return [name.split("-")[1] for job, name in engine.asked if job == "serving_confirm"]


def test_a_failure_is_measured_once_more_in_turns(tmp_path):
    found, engine = judged(tmp_path, lambda label, _: 50.0 if "onnx" in label else 100.0)
    assert found.status is Status.FAIL
    assert found.evidence["first"]["value"] == pytest.approx(0.5)
    first, fresh = labels(engine)[:4], labels(engine)[4:]
    assert first == ["none"] * 2 + ["onnxruntime"] * 2
    assert fresh == ["onnxruntime", "none", "none", "onnxruntime", "onnxruntime", "none"]


def test_a_busy_minute_of_one_side_is_no_failure(tmp_path):
    def rate(label: str, number: int) -> float:
        # The first two processes that confirm the candidate's rate fall into a busy minute.
        return 60.0 if "onnx" in label and number <= 4 else 100.0

    found, engine = judged(tmp_path, rate)
    assert found.status is Status.INCONCLUSIVE
    assert found.reason.startswith("not reproduced: ")
    assert len(labels(engine)) == 10


def test_what_passes_is_not_measured_again(tmp_path):
    found, engine = judged(tmp_path, lambda label, _: 200.0 if "onnx" in label else 100.0)
    assert found.status is Status.PASS
    assert len(labels(engine)) == 4

"""Builds records for the tests of `reports`: made up, nothing here was measured."""

from __future__ import annotations

import math
import random
from typing import Any

from gauge.verdict import SCALES

Record = dict[str, Any]

RUN = "20261125T040000Z-ab12cd"

# model: (seconds at batch 1, bytes, score, family of speedups that the model sees)
MODELS: dict[str, tuple[float, int, float]] = {
    "digits_mlp": (21e-6, 153_000, 0.971),
    "resnet18": (16.1e-3, 44_700_000, 0.9740),
    "mobilenet_v3_small": (3.3e-3, 6_150_000, 0.9725),
    "vit": (0.85e-3, 820_000, 0.958),
    "lstm": (1.9e-3, 1_320_000, 0.962),
    "minilm": (24.0e-3, 90_900_000, 1.0),
    "efficientnet_lite0": (18.4e-3, 18_700_000, 1.0),
}

GATES: tuple[tuple[str, int | None], ...] = (
    ("evidence", None),
    ("reload", None),
    ("accuracy", None),
    ("fidelity", None),
    ("size", None),
    ("speed", 1),
    ("speed", 32),
    ("memory", 1),
    ("memory", 32),
)


def run_record(**changes: Any) -> Record:
    """The first line of a finished, clean, uncontaminated nightly run."""
    aa = [
        {
            "model": model,
            "target": "cpu",
            "batch": 1,
            "value": 1.0 + shift,
            "low": 0.996 + shift,
            "high": 1.004 + shift,
            "processes": 12,
            "sd": 0.005,
            "contaminated": False,
        }
        for model, shift in zip(MODELS, (0.001, -0.002, 0.0006, 0.0021, -0.0004), strict=False)
    ]
    record: Record = {
        "kind": "run",
        "schema": 1,
        "run": RUN,
        "started": "2026-11-25T04:00:00Z",
        "finished": "2026-11-25T04:13:32Z",
        "complete": True,
        "seconds": 812.0,
        "commit": "6fa7e66c0ffee0123456789abcdef0123456789a",
        "dirty": False,
        "gate": "nightly",
        "matrix": "standard",
        "effort": "standard",
        "seed": 0,
        "targets": ["cpu", "bf16_cpu"],
        "options": {"batch": [1, 32]},
        "command": "pytest suites/ --target cpu --target bf16_cpu",
        "machine": {
            "cpu": "AMD EPYC 9V74 80-Core Processor",
            "cores": 2,
            "quota": 2.0,
            "threads": 1,
            "threads_reason": "one less than the quota of 2",
            "memory_bytes": 16_600_000_000,
            "flags": ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"],
            "gpu": None,
            "kernel": "Linux 6.1",
            "python": "3.11.7",
        },
        "versions": {
            "torch": "2.14.1",
            "torchvision": "0.29.1",
            "onnxruntime": "1.32.0",
            "numpy": "2.4.6",
            "optgauge": "0.1.0",
        },
        "policy": "policy.toml",
        "policy_sha256": "3f2a9c" + "0" * 58,
        "models": {
            name: {
                "sha256": f"{index:064x}",
                "parameters": size // 4,
                "score": {"cpu": score, "bf16_cpu": score},
                "evaluation": 2000,
                "groups": 30 if score == 1.0 else None,
                "architecture": name,
                "train_seconds": 41.0 + index,
            }
            for index, (name, (_, size, score)) in enumerate(MODELS.items())
        },
        "aa": aa,
        "contaminated": False,
        "aa_warning": None,
        "selected_cells": None,
        "interrupted": None,
    }
    return {**record, **changes}


def verdict(
    model: str,
    technique: str,
    gate: str,
    batch: int | None = None,
    target: str = "cpu",
    **fields: Any,
) -> Record:
    """One verdict; without more fields a PASS with a plausible number."""
    defaults = {
        "evidence": (1.0, "share"),
        "reload": (1.2e-7, "ratio"),
        "accuracy": (0.001, "fraction"),
        "fidelity": (0.996, "fraction"),
        "size": (0.5, "ratio"),
        "speed": (2.0, "ratio"),
        "memory": (0.9, "ratio"),
    }
    value, unit = defaults.get(gate, (1.0, SCALES[gate].unit))
    record: Record = {
        "kind": "verdict",
        "schema": 1,
        "run": RUN,
        "cell": {"model": model, "technique": technique, "target": target},
        "id": f"{model}-{technique}-{target}",
        "class": "A",
        "family": "quantization",
        "gate": gate,
        "batch": batch,
        "status": "PASS",
        "value": value,
        "unit": unit,
        "better": "higher" if gate in ("evidence", "fidelity", "speed") else "lower",
        "low": None,
        "high": None,
        "limit": None,
        "baseline": {},
        "candidate": {},
        "evidence": {},
        "reason": None,
        "seconds": 1.5,
        "command": f"pytest 'suites/' --target {target} --model {model} --technique {technique}",
    }
    return {**record, **fields}


def cell(
    model: str,
    technique: str,
    *,
    target: str = "cpu",
    cls: str = "A",
    family: str = "quantization",
    speed: float = 2.0,
    drop: float = 0.001,
    size: float = 0.5,
    lossless: bool = False,
    seed: int = 0,
    samples: int = 200,
    base: tuple[float, int, float] = (1e-3, 10_000_000, 0.97),
    spread: float = 0.012,
    worse: float = 0.006,
) -> list[Record]:
    """The verdicts of one measured cell, judged against the default limits."""
    rng = random.Random(ascii((model, technique, target, seed)))
    seconds, size_bytes, score = base
    common = {"target": target, "class": cls, "family": family}
    low, high = drop - worse, drop + worse
    status = "PASS" if high < 0.01 else "FAIL" if low > 0.01 else "INCONCLUSIVE"
    records = [
        verdict(
            model,
            technique,
            "evidence",
            **common,
            evidence={
                "lossless": lossless,
                "cached": True,
                "claims": {
                    "integer_kernels": {
                        "found": True,
                        "text": "20 of 21 layers run in int8",
                        "numbers": {"found": 20, "of": 21},
                    }
                },
                "stages": [
                    {"technique": stage, "seconds": round(rng.uniform(0.2, 9), 2)}
                    for stage in technique.split("+")
                ],
            },
        ),
        verdict(
            model,
            technique,
            "reload",
            **common,
            limit={"max": 1e-5, "source": "default"},
            evidence={"batches": {"1": 1.2e-7, "3": 0.0, "32": 2.1e-7}, "batch": None},
        ),
        verdict(
            model,
            technique,
            "accuracy",
            **common,
            value=drop,
            low=low,
            high=high,
            status=status,
            reason=None
            if status == "PASS"
            else f"{int(drop * 2000) + 4} of 2000 samples lost, 4 won (Tango 1998)",
            limit={
                "max": 0.01,
                "source": "policy.toml:12",
                "reason": "one point is what a release may lose",
            },
            baseline={"score": score, "n": 2000},
            candidate={"score": score - drop, "n": 2000},
            evidence={
                "b": int(drop * 2000) + 4,
                "c": 4,
                "groups": None,
                "flip_rate": drop + 0.004,
                "worst_class": {"label": 8, "drop": drop * 3},
                "calibration_error": {"baseline": 0.012, "candidate": 0.012 + drop / 2},
                "smallest_drop": 0.0047,
                "method": "Tango 1998",
            },
        ),
        verdict(
            model,
            technique,
            "fidelity",
            **common,
            value=1 - drop - 0.003,
            status="NO_EXPECTATION" if cls == "C" else "PASS" if drop < 0.1 else "FAIL",
            reason="another architecture is not expected to agree" if cls == "C" else None,
            limit=None if cls == "C" else {"min": 0.95, "source": "policy.toml:21"},
        ),
        verdict(
            model,
            technique,
            "size",
            **common,
            value=size,
            status="PASS" if size <= 1.05 else "FAIL",
            limit={"max": 1.05, "source": "default"},
            baseline={"bytes": size_bytes},
            candidate={
                "bytes": int(size_bytes * size),
                "files": {"model.onnx": int(size_bytes * size) - 812, "manifest.json": 812},
            },
        ),
    ]
    for batch in (1, 32):
        ratio = speed if batch == 1 else speed**0.8
        records.append(
            _speed(rng, model, technique, batch, ratio, seconds, samples, spread, common)
        )
    for batch in (1, 32):
        records.append(
            verdict(
                model,
                technique,
                "memory",
                batch,
                **common,
                value=0.8 + size / 5,
                status="PASS" if batch == 1 else "NO_EXPECTATION",
                reason=None if batch == 1 else "batch 32 is reported, not gated",
                limit={"max": 1.1, "source": "default"} if batch == 1 else None,
                baseline={"bytes": size_bytes * 2},
                candidate={"bytes": int(size_bytes * 2 * (0.8 + size / 5))},
            )
        )
    return records


def training(model: str, technique: str) -> list[Record]:
    """The verdicts of a way to train, over three seeds."""
    runs = [
        {
            "seed": seed,
            "attempted": 780,
            "taken": 778,
            "nonfinite_losses": 0,
            "low": 3,
            "layers": 3,
            "dtype": "float16",
            "scale": 65536.0 / 2**seed,
        }
        for seed in range(3)
    ]
    curve = {
        "baseline": [[10, 2.3], [20, 1.1], [30, 0.4]],
        "candidate": [[10, 2.4], [20, None], [30, 0.5]],
    }
    scores = {"baseline": [0.96, 0.961, 0.962], "candidate": [0.959, 0.96, 0.961]}
    rates = {"baseline": 1234.5, "candidate": 2345.6}
    gates: dict[str, Record] = {
        "training_steps": {
            "unit": "fraction",
            "value": 0.997,
            "limit": {"min": 0.98},
            "evidence": {"runs": runs, "curves": [{"seed": seed, **curve} for seed in range(3)]},
        },
        "training_accuracy": {
            "unit": "fraction",
            "value": 0.001,
            "low": -0.004,
            "high": 0.006,
            "limit": {"max": 0.01},
            "evidence": {"scores": scores},
        },
        "training_memory": {"value": 0.8, "limit": {"max": 1.1}},
        "training_speed": {
            "value": 1.9,
            "low": 1.85,
            "high": 1.95,
            "limit": {"min": 1.0},
            "evidence": {
                "steps_per_second": rates,
                "samples_a_step": 50,
                "processes": [0.64, 0.65, 0.63],
            },
        },
    }
    made = verdict(model, technique, "speed", family="training")
    return [{**made, "gate": gate, **fields} for gate, fields in gates.items()]


def _speed(
    rng: random.Random,
    model: str,
    technique: str,
    batch: int,
    ratio: float,
    seconds: float,
    samples: int,
    spread: float,
    common: Record,
) -> Record:
    seconds *= batch**0.7
    low, high = ratio * (1 - spread), ratio * (1 + spread)
    limit: Record = {"min": 1.0, "source": "default"}
    if common["family"] in ("pruning", "layout"):
        limit = {"min": 0.95, "source": "policy.toml:33", "reason": "it must not cost time"}
    status = "PASS" if low > limit["min"] else "FAIL" if high < limit["min"] else "INCONCLUSIVE"
    reason = {
        "PASS": None,
        "FAIL": f"{seconds / ratio:.3g} s against {seconds:.3g} s, 1 thread; no int8 kernel ran",
        "INCONCLUSIVE": "12 processes cannot tell it from the limit: sigma 0.6 %, resolves 1.2 %",
    }[status]
    if technique == "none" and common["target"] == "cpu":
        status, reason = "NO_EXPECTATION", "it is the baseline itself"
    elif batch == 32:
        status, reason = "NO_EXPECTATION", "batch 32 is reported, not gated"
    base, candidate = (
        [float(f"{arm * math.exp(abs(rng.gauss(0, 0.05))):.4g}") for _ in range(samples)]
        for arm in (seconds, seconds / ratio)
    )
    return verdict(
        model,
        technique,
        "speed",
        batch,
        **common,
        value=ratio,
        low=low,
        high=high,
        status=status,
        reason=reason,
        seconds=9.0,
        limit=limit if batch == 1 else None,
        baseline={"median_s": seconds * 1.03, "samples": base},
        candidate={"median_s": seconds / ratio * 1.03, "samples": candidate},
        evidence={
            "processes": [round(rng.gauss(math.log(ratio), 0.005), 5) for _ in range(3)],
            "sigma": 0.005,
            "steady": True,
            "threads": 1,
            "looks": [],
        },
    )


def lost_cell(
    model: str, technique: str, status: str, reason: str, *, target: str = "cpu", cls: str = "A"
) -> list[Record]:
    """The verdicts of a cell that was refused or crashed: every gate, no number."""
    return [
        verdict(
            model,
            technique,
            gate,
            batch,
            target,
            **{"class": cls},
            status=status,
            value=None,
            reason=reason,
            seconds=0.0,
        )
        for gate, batch in GATES
    ]

"""Makes histories up: runs of many cells with noise, steps and upgrades; nothing was measured."""

from __future__ import annotations

import datetime
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import reports_fixtures as fixtures

from reports import records
from reports.history import samples
from reports.history.store import ARTIFACTS, History
from reports.records import Records

GATES = ("evidence", "reload", "accuracy", "fidelity", "size")
VERDICTS = len(GATES) + 4
"""Of a cell: speed and memory at two batch sizes beside them."""
NOISE = 0.005

Ratio = Callable[[int, str], float]


def run_id(number: int) -> str:
    """Ids of nightly runs, in order of time."""
    day = datetime.date(2026, 1, 1) + datetime.timedelta(days=number)
    return f"{day:%Y%m%d}T040000Z-{number:06x}"


def header(number: int, **changes: Any) -> dict[str, Any]:
    """A run's own record."""
    name = run_id(number)
    started = f"{name[:4]}-{name[4:6]}-{name[6:8]}T04:00:00Z"
    own = {"run": name, "started": started, "commit": f"{number:040x}"}
    return fixtures.run_record(**{**own, **changes})


def add(
    history: History,
    number: int,
    *,
    ratios: dict[str, float],
    model: str = "resnet18",
    lost: int = 0,
    size: float = 0.5,
    noise: float = NOISE,
    drop: tuple[str, ...] = (),
    **changes: Any,
) -> str:
    """Add a small run: technique -> speedup, and per-sample results; returns its id.

    lost: samples of 2,000 that every technique answers wrongly beyond the usual 50. drop: gates to
    leave out. changes: fields of the run's own record.
    """
    rng = random.Random(number)
    verdicts = []
    for technique, ratio in ratios.items():
        logs = [np.log(ratio) + rng.gauss(0, noise) for _ in range(4)]
        middle = float(np.exp(np.mean(logs)))
        for one in fixtures.cell(model, technique, speed=middle, size=size, samples=4):
            if one["gate"] == "speed":
                one["evidence"]["processes"] = [float(value) for value in logs]
            if one["gate"] not in drop:
                verdicts.append({**one, "run": run_id(number)})
    with tempfile.TemporaryDirectory() as report:
        folder = Path(report, "samples")
        write_samples(folder, [f"{model}-{technique}-cpu" for technique in ratios], lost)
        history.add(Records(header(number, **changes), verdicts), folder)
    return run_id(number)


def write_samples(folder: Path, cells: list[str], lost: int) -> None:
    """Right-or-wrong results of 2,000 samples a cell, as a report holds them."""
    folder.mkdir(parents=True)
    base = np.ones(2000, "float32")
    base[:40] = 0
    candidate = base.copy()
    candidate[40 : 50 + lost] = 0
    for cell in cells:
        np.savez_compressed(folder / f"{cell}.npz", baseline=base, candidate=candidate)


def large(folder: Path, runs: int, cells: int, ratio: Ratio | None = None) -> int:
    """A history of many runs, written as fast as text can be; returns the number of verdicts.

    Only the last two runs have per-sample results: those that a comparison reads.
    """
    history = History.open(folder, create=True)
    names = [(f"model{number % 25:02}", f"technique{number // 25:02}") for number in range(cells)]
    models = {
        model: {"sha256": f"{number:064x}"}
        for number, model in enumerate(sorted({model for model, _ in names}))
    }
    for number in range(runs):
        place = history.folder(run_id(number))
        place.mkdir(parents=True)
        rng = np.random.default_rng(number)
        first = header(number, models=models, verdicts=cells * VERDICTS)
        with (place / records.FILE).open("w") as file:
            file.write(json.dumps(first) + "\n")
            for cell, (model, technique) in enumerate(names):
                speed = (ratio(number, technique) if ratio else 2.0) * (1 + cell % 7)
                file.write(_cell(run_id(number), model, technique, speed, rng.normal(0, NOISE, 4)))
        artifacts = {f"{m}-{t}-cpu": {"sha256": "0" * 64, "key": "0" * 64} for m, t in names}
        (place / ARTIFACTS).write_text(json.dumps(artifacts))
        if number >= runs - 2:
            _samples(place / samples.FILE, [f"{m}-{t}-cpu" for m, t in names], rng)
    return runs * cells * VERDICTS


def _cell(run: str, model: str, technique: str, speed: float, noise: Any) -> str:
    """The lines of one cell, with the fields and the length of real ones."""
    start = (
        f'{{"kind":"verdict","schema":1,"run":"{run}","cell":{{"model":"{model}","technique":'
        f'"{technique}","target":"cpu"}},"id":"{model}-{technique}-cpu","class":"A","family":'
        '"quantisation","gate":"'
    )
    end = (
        '"reason":null,"seconds":1.5,"command":"pytest suites/ --target cpu --model '
        f'{model} --technique {technique}"}}\n'
    )
    value = speed * float(np.exp(noise.mean()))
    spread = f'"low":{value * 0.99:.6g},"high":{value * 1.01:.6g},"limit":{{"min":1.0}},'
    logs = ",".join(f"{np.log(speed) + one:.6f}" for one in noise)
    speeds = (
        f'"status":"PASS","value":{value:.8g},"unit":"ratio","better":"higher",{spread}'
        f'"baseline":{{"median_s":0.00512}},"candidate":{{"median_s":{0.00512 / value:.6g}}},'
        f'"evidence":{{"processes":[{logs}],"sigma":0.005,"steady":true,"threads":1}},'
    )
    plain = (
        '"status":"PASS","value":0.9,"unit":"ratio","better":"lower","low":null,"high":null,'
        '"limit":{"max":1.05,"source":"default"},"baseline":{"bytes":44700000},"candidate":'
        '{"bytes":22300000},"evidence":{"note":"as large as what a real one holds on average"},'
    )
    lines = [f'{start}{gate}","batch":null,{plain}{end}' for gate in GATES]
    for batch in (1, 32):
        lines.append(f'{start}speed","batch":{batch},{speeds}{end}')
        lines.append(f'{start}memory","batch":{batch},{plain}{end}')
    return "".join(lines)


def _samples(path: Path, cells: list[str], rng: Any) -> None:
    count = 2000
    base = (rng.random(len(cells) * count) > 0.03).astype("float32")
    np.savez_compressed(
        path,
        cells=np.array(cells),
        ends=np.arange(1, len(cells) + 1) * count,
        grouped=np.zeros(len(cells), bool),
        baseline=np.ones_like(base),
        candidate=base,
        groups=np.zeros(len(base), "int64"),
    )

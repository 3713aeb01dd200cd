"""Prints what running the suites costs: collecting, the harness itself, a year of history, the
standard matrix.

Run by `tox -e bench`; asserts nothing, since times depend on the machine. Options after `--` go to
the two runs of the matrix (for a quick look: `tox -e bench -- --model digits_mlp`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reports import records

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = {
    "collecting the full matrix": 2.0,
    "standard matrix, first run": 40 * 60.0,
    "standard matrix, all cached": 12 * 60.0,
    "harness overhead per cell": 0.5,
    "comparing two runs of a year's": 2.0,
    "a trend over a year": 3.0,
}
YEAR = (334, 1000)
"""Nightly runs and their cells: 3 million verdicts."""
MEMORY_MB = 1000
SPY = 'def pytest_unconfigure():\n    import sys\n    print("torch:", "torch" in sys.modules)\n'


def pytest(*words: str) -> tuple[float, str]:
    """Seconds and output of one pytest run in the project's folder."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "suites", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode > 1:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - began, done.stdout


def tell(name: str, seconds: float, note: str = "") -> None:
    budget = BUDGETS.get(name)
    held = ""
    if budget is not None:
        held = f" (budget {budget:g} s: {'kept' if seconds <= budget else 'MISSED'})"
    print(f"{name}: {seconds:.2f} s{held} {note}".rstrip(), flush=True)


def collecting(folder: Path) -> None:
    (folder / "spy.py").write_text(SPY)
    os.environ["PYTHONPATH"] = str(folder)
    best = min(pytest("--co", "-q", "--matrix=full", "-p", "spy") for _ in range(3))
    imported = "torch: True" in best[1]
    tell("collecting the full matrix", best[0], f"torch imported: {imported}")


def matrix(folder: Path, words: list[str]) -> None:
    cache = ("--cache", str(folder / "cache"), "--target", "cpu", *words)
    runs = []
    for name in ("first run", "all cached"):
        report = folder / name.replace(" ", "-")
        seconds, _ = pytest(*cache, "--report", str(report))
        runs.append(records.read(report))
        tell(f"standard matrix, {name}", seconds, f"{runs[-1].run['selected_cells']} cells")
    compare(*(verdicts(run.verdicts) for run in runs))


def verdicts(lines: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {(one["id"], one["gate"], one["batch"]): one for one in lines}


def compare(
    first: dict[tuple[Any, ...], dict[str, Any]], second: dict[tuple[Any, ...], dict[str, Any]]
) -> None:
    """What a second run judges otherwise, INCONCLUSIVE aside, and how often each was undecided."""
    for key in sorted(first.keys() ^ second.keys(), key=str):
        print(f"in one run only: {key}")
    undecided = [
        sum(one["status"] == "INCONCLUSIVE" for one in run.values()) for run in (first, second)
    ]
    differ = [
        key
        for key in first.keys() & second.keys()
        if first[key]["status"] != second[key]["status"]
        and "INCONCLUSIVE" not in (first[key]["status"], second[key]["status"])
    ]
    for key in sorted(differ, key=str):
        print(f"judged otherwise: {key}")
        for run in (first, second):
            print(f"    {run[key]['status']} {run[key]['value']} {run[key]['reason']}")
    print(
        f"{len(first)} verdicts, {len(differ)} judged otherwise the second time; "
        f"INCONCLUSIVE {undecided[0]} and {undecided[1]}"
    )


def overhead(folder: Path) -> None:
    """One job that does nothing, through the same workers: fork, protocol, result."""
    from gauge.isolation import Workers

    (folder / "nothing.py").write_text("def nothing(arguments):\n    return {}\n")
    path = f"{folder}:{ROOT}"
    with Workers(["torch", "torchvision"], {"PYTHONPATH": path}) as workers:
        began = time.perf_counter()
        workers.start()
        tell("starting the fork server", time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(20):
            workers.run("nothing:nothing", {}, log=folder / "log", timeout=60)
        one = (time.perf_counter() - began) / 20
    tell("one empty job", one)
    # apply, examine, two memory processes and three timing processes.
    tell("harness overhead per cell", 7 * one, "7 jobs")


def history(folder: Path) -> None:
    """The commands over a history of 3 million verdicts, each in a process of its own."""
    from history_generated import large, run_id

    runs, cells = YEAR
    place = folder / "history"
    verdicts = large(place, runs, cells, lambda number, _: 2.0 if number < runs // 2 else 1.9)
    tell("indexing a year of runs", _command(place, "trend", "model03", "technique02")[0], "once")
    compared = ("compare", run_id(runs - 2), run_id(runs - 1))
    for name, words in (
        ("comparing two runs of a year's", compared),
        ("a trend over a year", ("trend", "model03", "technique02")),
        ("listing a year of runs", ("list",)),
    ):
        seconds, megabytes = min(_command(place, *words) for _ in range(3))
        held = "kept" if megabytes <= MEMORY_MB else "MISSED"
        note = f"{verdicts} verdicts, {megabytes:.0f} MB (budget {MEMORY_MB} MB: {held})"
        tell(name, seconds, note)


def _command(history: Path, *words: str) -> tuple[float, float]:
    """Seconds, and megabytes at most, of one command over a history."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "reports", *words, "--history", str(history)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) > 1:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1e3


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="optgauge-bench-") as name:
        folder = Path(name)
        collecting(folder)
        overhead(folder)
        history(folder)
        matrix(folder, sys.argv[1:])


if __name__ == "__main__":
    main()

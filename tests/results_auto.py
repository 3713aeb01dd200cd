"""auto against the full matrix: is what it finds as good as the best cell, and in which time?

For one model: the full matrix (without the searches in it), then auto for each width that is
allowed, every run with a cache of its own that holds the model's weights and nothing else. What
auto found and the fastest cell of the matrix that keeps the accuracy, of any class that auto was
allowed, are built from the same weights, saved, and timed in turns in fresh processes.

    python tests/results_auto.py MODEL CACHE [--allow numerics --allow structure] [--processes 6]

prints a line of JSON for each width. `log_ratio`: above 0 where what auto found is faster.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import results_tables as tables  # noqa: E402 - the folders above are not installed
from results_distillation import paired_interval  # noqa: E402

from reports import cells as grouped  # noqa: E402
from reports import records  # noqa: E402

WIDTHS = {"numerics": "A", "structure": "AB", "architecture": "ABC"}
"""The classes that each width may find."""

SECONDS = 1.0
PROCESSES = 6
SHARE = 1 / 3
"""Of the matrix's time, that auto may take."""


def measure(
    name: str, cache: Path, allowed: Sequence[str], processes: int, threads: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """A row a width. Raises SystemExit with its last words where a run of the suites breaks."""
    words = ["--model", name, "--threads", str(threads)]
    full, taken = _run(
        folder / "full",
        cache,
        [*words, "--matrix", "full", "-k", f"not {name}-auto-cpu and not nas_"],
    )
    cells = grouped.group(full)
    for allow in allowed:
        asked = [*words, "--technique", "auto", "--allow", allow]
        own, seconds = _run(folder / allow, cache, asked)
        (cell,) = grouped.group(own)
        evidence = (cell.gate("evidence") or {}).get("evidence", {})
        search = evidence["stages"][0]["notes"]["search"]
        found = evidence["found"]["pipeline"]
        best = fastest(cells, WIDTHS[allow])
        pairs = [] if best in (None, found) else _paired(name, cache, best, found, processes)
        yield {
            "model": name,
            "allow": allow,
            "found": found,
            "status": cell.status,
            "class": cell.class_,
            "best": best,
            "log_ratios": pairs,
            "seconds": seconds,
            "matrix_seconds": taken,
            "listed": len(search["trials"]),
            "tried": sum(one["status"] not in ("skipped", "refused") for one in search["trials"]),
        }


def fastest(cells: Sequence[grouped.Cell], classes: str) -> str | None:
    """The technique of the fastest cell of these classes that keeps the accuracy."""
    picks = [pick.cell for one in classes for pick in tables.best(cells, one).values()]
    known = {cell.technique: cell.value("speed") or 0.0 for cell in picks if cell is not None}
    return max(known, key=lambda one: known[one]) if known else None


def _run(folder: Path, cache: Path, words: Sequence[str]) -> tuple[records.Records, float]:
    """The records of a run with a cache that holds weights alone, and the seconds that it took."""
    own, report = folder / "cache", folder / "report"
    if not (report / records.FILE).exists() or not records.read(report).run.get("complete"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(cache / "weights", own / "weights")
        command = [sys.executable, "-m", "pytest", "suites", "-p", "no:cacheprovider", "-q"]
        command += ["--cache", str(own), "--report", str(report), *words]
        began = time.monotonic()
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
        (folder / "seconds").write_text(str(time.monotonic() - began))
        shutil.rmtree(own)
    return records.read(report), float((folder / "seconds").read_text())


def _paired(name: str, cache: Path, best: str, found: str, processes: int) -> list[float]:
    """Log-ratios of fresh processes, each with both artifacts in turns."""
    import torch

    import optimizers
    import zoo
    from gauge import targets
    from optimizers import artifact, pipeline
    from suites import naming

    model, target = zoo.get(name), targets.get("cpu")
    variants = {one: optimizers.get(one).variants for one in optimizers.names()}
    with tempfile.TemporaryDirectory() as scratch:
        places = []
        for number, technique in enumerate((best, found)):
            folder = Path(scratch) / str(number)
            (folder / "artifact").mkdir(parents=True)
            context = optimizers.Context(model, target, {}, 0, folder / "work")
            torch.manual_seed(0)
            stages = [tuple(one) for one in naming.parse(technique, variants)]
            optimized, _ = pipeline.apply(stages, _ready(name, cache), context)
            artifact.save(optimized, folder / "artifact")
            places.append(str(folder / "artifact"))
        ratios = []
        for number in range(processes):
            words = [name, "--pair", *places, *(["--second-first"] * (number % 2))]
            command = [sys.executable, "-W", "ignore", str(Path(__file__)), *words]
            done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
            if done.returncode:
                raise SystemExit(f"timing {best} and {found} failed:\n{done.stderr[-2000:]}")
            ratios.append(json.loads(done.stdout.splitlines()[-1])["log_ratio"])
        return ratios


def _ready(name: str, cache: Path) -> Any:
    """The model with the cache's weights: the newest of its architecture."""
    import zoo
    from gauge import targets
    from optimizers import artifact

    expected = set(zoo.get(name).build().state_dict())
    for entry in sorted(cache.glob("weights/*/artifact"), key=lambda one: -one.stat().st_mtime):
        if json.loads((entry / "artifact.json").read_text(encoding="utf-8"))["model"] == name:
            module = artifact.load(entry, targets.get("cpu")).module
            assert module is not None
            assert set(module.state_dict()) == expected
            return module
    raise SystemExit(f"{cache} holds no weights of {name}")


def pair(name: str, first: Path, second: Path, *, second_first: bool) -> dict[str, float]:
    """The log-ratio of two saved artifacts: above 0 where the second is faster."""
    import torch

    import zoo
    from gauge import targets, timing
    from optimizers import artifact

    target = targets.get("cpu")
    both = [artifact.load(one, target) for one in (first, second)]
    example = target.cast(zoo.get(name).example(1))
    with torch.inference_mode():
        timed = timing.measure_pair(
            *both, target, example, example, seconds=SECONDS, candidate_first=second_first
        )
    if timed.invalid:
        raise SystemExit(timed.invalid)
    return {"log_ratio": timed.log_ratio}


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown lines: what was found beside the matrix's best, and both times."""
    told = []
    for row in rows:
        share = row["seconds"] / row["matrix_seconds"]
        kept = "reached" if share <= SHARE else "MISSED"
        told.append(
            [
                row["model"],
                row["allow"],
                f"`{row['found']}` (class {row['class']}, {row['status']})",
                f"`{row['best']}`" if row["best"] else "none keeps the accuracy",
                _ratio(row),
                f"{row['tried']} of {row['listed']}",
                f"{row['seconds']:.0f} s of {row['matrix_seconds']:.0f} s, {share:.0%}: {kept}",
            ]
        )
    head = ["model", "allowed", "auto found", "best of the matrix", "auto over best, in turns"]
    return tables.table([*head, "pipelines tried", "time"], told)


def _ratio(row: Mapping[str, Any]) -> str:
    if row["best"] is None:
        return ""
    if row["best"] == row["found"]:
        return "the same"
    middle = math.exp(statistics.fmean(row["log_ratios"]))
    low, high = (math.exp(one) for one in paired_interval(row["log_ratios"]))
    told = "" if low > 1 else ", slower" if high < 1 else " (not told apart)"
    return f"{middle:.2f}× [{low:.2f}, {high:.2f}]{told}"


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("cache", type=Path, nargs="?", help="holds the model's weights")
    parser.add_argument("--allow", action="append", choices=WIDTHS, default=None)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keeps the runs, so that they go on here")
    parser.add_argument("--pair", type=Path, nargs=2, metavar="ARTIFACT", help="time these two")
    parser.add_argument("--second-first", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.pair:
        first, second = chosen.pair
        print(json.dumps(pair(chosen.model, first, second, second_first=chosen.second_first)))
        return
    if chosen.cache is None:
        parser.error("CACHE: name the folder that holds the model's weights")
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        rows = []
        allowed, many = chosen.allow or list(WIDTHS), (chosen.processes, chosen.threads)
        for row in measure(chosen.model, chosen.cache, allowed, *many, folder / chosen.model):
            rows.append(row)
            print(json.dumps(row), flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()

"""Writes docs/results.md: tables from finished runs' records, and what is measured beside them.

    python tests/results.py REPORT [MORE ...] [--cache DIR] [--models GLOB] [--processes 3]

REPORT is the folder that `pytest suites/ --report` wrote, MORE those of runs that add cells (one
of QAT and PTQ on every model, one of suites/test_training.py); `--cache` where they kept their
weights. The other tools (tests/reference_tools.py), class A's best against the best of them
(tests/results_rivals.py), distillation without its teacher (tests/results_distillation.py), what a
search gains over chance (tests/results_search.py) and how near the batching policy that is found
comes to the best (tests/results_serving.py) are measured here, on the same weights, a process a
model and turn. What they print is kept in `REPORT/measured.jsonl` (or `--measured FILE`)
with the weights' hash and all versions: only what is missing for these is measured again. Seeds of
a search are kept beside it, in `search.jsonl`, as each is done. Run by `tox -e results`.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import results_auto  # noqa: E402 - the folders above are not installed
import results_distillation  # noqa: E402
import results_search  # noqa: E402
import results_serving  # noqa: E402
import results_tables as tables  # noqa: E402
import results_training  # noqa: E402

from reports import cells as grouped  # noqa: E402
from reports import formats, records  # noqa: E402

Record = dict[str, Any]
SEARCHED = {"lstm": 0.05, "mobilenet_v3_small": 0.4, "vit": 0.1}
"""The budget of size of each search, in MB: a sixth of the model's weights, of mobilenet_v3_small a
fifteenth. Size, because proposals see it and no clock decides about it."""
TEACHING = ("resnet18", "mobilenet_v3_small", "lstm", "digits_mlp", "vit")


def weights(cache: Path, model: str, sha256: str) -> Path:
    """The file with the weights that the run measured; raises SystemExit where it is gone."""
    for entry in sorted(cache.glob("weights/*/entry.json")):
        meta = json.loads(entry.read_text(encoding="utf-8"))["meta"]
        path = entry.parent / "artifact" / "weights.safetensors"
        if meta.get("sha256") == sha256 and path.is_file():
            return path
    raise SystemExit(f"{cache} holds no weights of {model} with the run's hash {sha256[:12]}…")


def measured(script: str, words: Sequence[str], threads: int) -> list[Record]:
    """The JSON lines that one of the scripts beside this one prints; tools print other lines too.

    Raises SystemExit with its last words where it fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / script), *words],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"model"')]


class Kept:
    """Lines of `measured.jsonl` for the weights, versions and machine of one run."""

    def __init__(self, path: Path, run: Record) -> None:
        self.path = path
        facts = [run["versions"], run["machine"]["cpu"], run["machine"]["threads"]]
        self.where = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        self.weights = {name: one["sha256"] for name, one in run["models"].items()}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows: list[Record] = [row for row in map(json.loads, lines) if self._holds(row)]

    def _holds(self, row: Record) -> bool:
        return row["where"] == self.where and row["weights"] == self.weights.get(row["model"])

    def get(self, what: str, model: str, turn: int) -> list[Record]:
        place = (what, model, turn)
        return [row for row in self.rows if (row["what"], row["model"], row["turn"]) == place]

    def add(self, what: str, turn: int, found: Sequence[Record]) -> None:
        new = [
            {
                "where": self.where,
                "weights": self.weights[row["model"]],
                "what": what,
                "turn": turn,
                **row,
            }
            for row in found
        ]
        self.rows += new
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in new)

    def all(self, what: str) -> list[Record]:
        return [row for row in self.rows if row["what"] == what]


def joined(reports: Sequence[Path]) -> records.Records:
    """The first run's records, and the cells that only later runs have.

    Raises SystemExit for a run that did not finish, or that measured other weights or versions.
    """
    runs = [records.read(folder) for folder in reports]
    first = runs[0]
    verdicts, known = (
        list(first.verdicts),
        {records.cell_key(one["cell"]) for one in first.verdicts},
    )
    for folder, found in zip(reports, runs, strict=True):
        if not found.run.get("complete"):
            raise SystemExit(f"{folder} is of a run that did not finish")
        for name, model in found.run["models"].items():
            if first.run["models"].get(name, model)["sha256"] != model["sha256"]:
                raise SystemExit(f"{folder} measured other weights of {name} than {reports[0]}")
        if found.run["versions"] != first.run["versions"]:
            raise SystemExit(f"{folder} was made with other versions than {reports[0]}")
        verdicts += [one for one in found.verdicts if records.cell_key(one["cell"]) not in known]
        known |= {records.cell_key(one["cell"]) for one in found.verdicts}
    return records.Records(first.run, verdicts)


def measure_all(
    found: records.Records, cache: Path, kept: Kept, chosen: argparse.Namespace
) -> None:
    """Tools in turns over the models, so that no model's processes come back to back."""
    run = found.run
    threads = int((run.get("machine") or {}).get("threads") or 1)
    models = [name for name in run["models"] if fnmatch.fnmatchcase(name, chosen.models)]
    files = {name: weights(cache, name, run["models"][name]["sha256"]) for name in models}
    for turn in range(chosen.processes):
        for name in models:
            if not kept.get("tool", name, turn):
                print(f"tools, process {turn + 1}: {name}", flush=True)
                words = [name, str(files[name]), "--threads", str(threads)]
                kept.add("tool", turn, measured("reference_tools.py", words, threads))
    pairs = tables.rivals(grouped.group(found), tables.tools(kept.all("tool")))
    for turn in range(chosen.processes):
        for name, (tool, technique) in pairs.items():
            held = kept.get("rival", name, turn)
            if name in models and not any(
                (row["tool"], row["technique"]) == (tool, technique) for row in held
            ):
                print(f"best against best, process {turn + 1}: {name}", flush=True)
                words = [name, str(files[name]), tool, technique, "--threads", str(threads)]
                words += ["--candidate-first"] * (turn % 2)
                kept.add("rival", turn, measured("results_rivals.py", words, threads))
    for name in models:
        if name in TEACHING and not kept.get("distillation", name, chosen.seeds):
            print(f"distillation, {chosen.seeds} seeds: {name}", flush=True)
            words = [name, str(files[name]), "--seeds", str(chosen.seeds)]
            found = measured("results_distillation.py", words, threads)
            kept.add("distillation", chosen.seeds, found)
        if name in SEARCHED and not kept.get("search", name, results_search.SEEDS):
            print(f"searches, {results_search.SEEDS} seeds: {name}", flush=True)
            words = [name, str(files[name]), "--size-budget", str(SEARCHED[name])]
            words += ["--lines", str(kept.path.with_name("search.jsonl"))]
            found = measured("results_search.py", words, 1)
            kept.add("search", results_search.SEEDS, found)
        if name in results_serving.SERVED and not kept.get("serving", name, 0):
            print(f"batching policies, the whole grid: {name}", flush=True)
            technique, deadline = results_serving.SERVED[name]
            words = [name, str(files[name]), "--threads", str(threads)]
            words += ["--technique", technique, "--deadline", str(deadline)]
            kept.add("serving", 0, measured("results_serving.py", words, threads))
    for name in models:
        if chosen.auto and fnmatch.fnmatchcase(name, chosen.auto) and not kept.get("auto", name, 0):
            print(f"auto against the full matrix: {name}", flush=True)
            words = [name, str(cache), "--threads", str(threads)]
            kept.add("auto", 0, measured("results_auto.py", words, threads))


def header(run: Record, more: Sequence[Record] = ()) -> list[str]:
    """When, where and with what; no host name is in the records, so none is here.

    more: the later runs, which add cells.
    """
    machine, versions = run["machine"], run["versions"]
    told = ", ".join(f"{name} {one}" for name, one in sorted(versions.items()) if one)
    memory = formats.size(machine.get("memory_bytes"))
    spread = [one["sd"] for one in run.get("aa") or () if one.get("sd") is not None]
    noise = f"{100 * max(spread):.2f} %" if spread else "not measured"
    return [
        "# Results",
        "",
        "Made by `tox -e results` from one run's records; edit nothing here by hand.",
        "",
        f"- Run `{run['run']}`, {formats.moment(run['started'])}, commit `{run['commit'][:12]}`"
        f"{' with changes' if run.get('dirty') else ''}, seed {run.get('seed')}: "
        f"`{_command(run)}`",
        *(f"- Cells that it has not: run `{one['run']}`, `{_command(one)}`" for one in more),
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['threads']} thread, {memory}, "
        f"{', '.join(machine.get('flags') or ())}",
        f"- Largest SD of an A/A cell between processes: {noise}",
        f"- {told}",
        "",
        "A speedup is told against eager FP32, in turns in one process, with its interval."
        " Certified is what passes the gates evidence, reload and accuracy (one point, or what the"
        " policy says of a model whose samples cannot decide that). Classes are never mixed: a"
        " swapped architecture makes large factors easy on an easy task.",
    ]


def _command(run: Record) -> str:
    """The run's command without the folders it used, which are nobody else's."""
    return re.sub(r" --(cache|report)[ =]\S+", "", str(run.get("command")))


def page(found: records.Records, kept: Kept, reports: Sequence[Path]) -> str:
    """docs/results.md. reports: the runs'; per-sample results come from the first that has any."""
    cells = grouped.group(found)
    folders = [folder / "samples" for folder in reports]
    lines = header(found.run, [records.read(folder).run for folder in reports[1:]])
    for class_, words in tables.CLASSES.items():
        lines += ["", f"## Class {class_}: {words}", "", *tables.class_table(cells, class_)]
    lines += ["", "## Geometric means", "", *tables.means(cells)]
    lines += ["", "## Class A against single tools", "", *_against(cells, kept)]
    lines += ["", "## auto against the full matrix", "", *_automatic(kept)]
    lines += ["", "## Distillation without its teacher", "", *_taught(kept)]
    lines += ["", "## Architecture search against chance", "", *_searched(kept)]
    lines += ["", "## Batching policies against the whole grid", "", *_batched(kept)]
    qat, layers = tables.qat_table(cells, folders), tables.layer_table(cells, "efficientnet_lite0")
    lines += ["", "## QAT against PTQ", "", *qat]
    lines += ["", "## Layers of efficientnet_lite0 in int8", "", *layers]
    lines += ["", "## Mixed-precision training", "", *results_training.section(cells)]
    lines += ["", "## What loses", "", *tables.losers(cells)]
    return "\n".join(lines) + "\n"


def _against(cells: Sequence[grouped.Cell], kept: Kept) -> list[str]:
    timed = tables.tools(kept.all("tool"))
    if not timed:
        return ["Not measured."]
    return [
        "Each tool as its documentation shows (tests/reference_tools.py), timed against eager FP32"
        " in turns, after the run. The ratio is measured by itself: both in turns in one process.",
        "",
        *tables.against_tools(cells, timed, kept.all("rival")),
        "",
        *tables.tool_table(timed),
    ]


def _automatic(kept: Kept) -> list[str]:
    rows = kept.all("auto")
    if not rows:
        return ["Not measured."]
    told = (
        "What auto found, and the fastest cell of the full matrix that keeps the accuracy in any"
        " class that auto was allowed, each run with nothing cached but the weights. The ratio is"
        " above 1 where what auto found is faster; 95 % intervals over processes. The goal is at"
        " least as good, in at most a third of the time. The matrix's best is chosen by the"
        " evaluation split, which auto never sees: it decides by 120 to 960 other"
        " samples, and may turn down what would have passed. A row that is not here was not"
        " measured."
    )
    return [told, "", *results_auto.table(rows)]


def _taught(kept: Kept) -> list[str]:
    rows = kept.all("distillation")
    if not rows:
        return ["Not measured."]
    told = (
        "The same student, first weights, samples, order and steps, with the teacher's soft targets"
        " in the loss and without; Student's t interval (95 %) over seeds of the paired gain."
    )
    return [told, "", *results_distillation.table(rows)]


def _searched(kept: Kept) -> list[str]:
    rows = kept.all("search")
    if not rows:
        return ["Not measured."]
    told = (
        "The same space, samples, seeds and number of trials, under a budget of size; what each"
        " search returns is trained alike and scored once on the evaluation split. Beside it what"
        " was designed by hand: the model scaled down in width until it is within the budget, and"
        " its student, which may not be. Hypervolume: the share of score times saved products that"
        " the trials reach. Student's t interval (95 %) over seeds of the paired gain."
    )
    return [told, "", *results_search.table(rows)]


def _batched(kept: Kept) -> list[str]:
    rows = kept.all("serving")
    return [results_serving.TOLD, "", *results_serving.table(rows)] if rows else ["Not measured."]


def main() -> None:
    from reports.history.artifacts import default_cache

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path, nargs="+", metavar="REPORT")
    parser.add_argument("--measured", type=Path, default=None)
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--models", default="*", help="a glob of models to measure beside")
    parser.add_argument("--auto", default="", help="a glob of models to run auto on, for long")
    parser.add_argument("--processes", type=int, default=3, help="that time each tool")
    parser.add_argument("--seeds", type=int, default=results_distillation.SEEDS)
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "results.md")
    chosen = parser.parse_args()
    found = joined(chosen.reports)
    kept = Kept(chosen.measured or chosen.reports[0] / "measured.jsonl", found.run)
    measure_all(found, chosen.cache or default_cache(), kept, chosen)
    chosen.out.parent.mkdir(exist_ok=True)
    text = page(found, kept, chosen.reports)
    records.replace(chosen.out, text.encode("utf-8"))
    print(chosen.out)


if __name__ == "__main__":
    main()

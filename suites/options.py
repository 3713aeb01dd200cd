"""The command line: every option, what it accepts, and the settings read from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gauge.cache import digest
from gauge.cold import MODES
from gauge.machine import Threads, allowance, default_threads, threads_problem
from reports.history.artifacts import default_cache
from suites.shard import Shard

if TYPE_CHECKING:
    from argparse import Namespace

HEADING = "optgauge (model optimisation gates)"
GATED_BATCH, REPORTED_BATCH = 1, 32
BUDGETS = {"latency_ms": "--latency-budget", "size_mb": "--size-budget"}
GOALS = {"max_drop": "--max-drop", "optimise_for": "--optimise-for", "allow": "--allow"}
AIMS = ("latency", "size", "energy", "throughput")
WIDTHS = ("numerics", "structure", "architecture")
DEADLINE = "100"
"""Milliseconds: what LoadGen itself takes where nothing is said."""


def add(parser: pytest.Parser) -> None:
    """Register all options under one heading of `pytest --help`."""
    group = parser.getgroup("optgauge", HEADING)

    def option(name: str, **settings: Any) -> None:
        group.addoption(name, **settings)

    def repeatable(name: str, metavar: str, text: str) -> None:
        option(name, action="append", default=None, metavar=metavar, help=f"{text} (repeatable)")

    repeatable("--target", "NAME", "device and number format; default: cpu; glob")
    repeatable("--model", "NAME", "only these models; glob")
    repeatable(
        "--technique",
        "NAME",
        "only these techniques; glob, or a pipeline joined with '+'",
    )
    repeatable("--batch", "N", "batch sizes to gate; default: 1 gated, 32 reported")
    option(
        "--matrix",
        choices=("standard", "full"),
        default="standard",
        help="which declared cells: standard (default), or full for every variant",
    )
    option(
        "--effort",
        choices=("quick", "standard", "thorough"),
        default="standard",
        help="measuring time for a close call: up to 4 or 12 (default) processes, "
        "or 12 and a second run",
    )
    option(
        "--gate",
        choices=("nightly", "release"),
        default="nightly",
        help="release: INCONCLUSIVE, NO_BASELINE, what [[require]] misses and stale waivers fail "
        "too; nightly is the default",
    )
    option(
        "--policy",
        metavar="FILE",
        help="limits, waivers and what a release requires; default: the project's policy.toml",
    )
    repeatable(
        "--plugin",
        "FILE",
        "a Python file that registers models, techniques or targets; write it with '='",
    )
    option("--imagenet", metavar="DIR", help="folder of class folders for the imagenet models")
    option(
        "--report",
        metavar="DIR",
        help="where records, samples and index.html go; default: the project's reports/out",
    )
    option(
        "--history",
        metavar="DIR",
        help="compare with earlier runs kept there (one gate more, regression) and add this one",
    )
    option(
        "--export",
        metavar="DIR",
        help="copy artifacts whose gates all passed here; a release that passes lists them in its "
        "release.json",
    )
    # Appended, so that a second one that says otherwise is seen instead of taking over in silence.
    option(
        "--latency-budget",
        action="append",
        metavar="MS",
        help="milliseconds that a call of a search's model may take at batch 1 on the target",
    )
    option(
        "--size-budget",
        action="append",
        metavar="MB",
        help="millions of bytes that the weights of a search's model may have",
    )
    option(
        "--max-drop",
        action="append",
        metavar="SHARE",
        help="how much of the score auto may lose, such as 0.01 for one point; default: what the "
        "policy allows",
    )
    option(
        "--optimise-for",
        action="append",
        choices=AIMS,
        help="what auto makes as good as it can: latency (default; a call with one sample), "
        "throughput (in batches up to the largest --batch), size or energy",
    )
    option(
        "--allow",
        action="append",
        choices=WIDTHS,
        help="how far auto may go: numerics (default; class A), structure (B too) or "
        "architecture (C too)",
    )
    option(
        "--resume",
        action="store_true",
        help="keep what a stopped run in --report has measured and measure only the rest",
    )
    option(
        "--plan",
        action="store_true",
        help="show cells, limits, what is cached and the time it will take, and stop",
    )
    option(
        "--shard",
        metavar="I/N",
        help="only the I-th of N parts of the cells, split by the durations of earlier runs",
    )
    option(
        "--changed-since",
        metavar="COMMIT",
        help="only cells whose model, technique or target has other code than in this git commit",
    )
    option(
        "--max-minutes",
        metavar="M",
        help="stop in an orderly way after so long, with exit code 2; --resume goes on",
    )
    option(
        "--stage",
        choices=("build", "measure"),
        help="build: train and optimise, measure nothing; measure: only what is built already",
    )
    option(
        "--cache",
        metavar="DIR",
        help="where trained and optimised models are kept; "
        "`python -m suites cache` carries them to another machine",
    )
    option("--cache-drop", action="store_true", help="empty the cache first")
    option(
        "--threads", metavar="N", help="threads of every runtime; default: one less than allowed"
    )
    option("--seed", default="0", metavar="N", help="seed of training and sampling; default: 0")
    option(
        "--cache-mode",
        choices=MODES,
        default="warm",
        help="whether a timed call finds the processor's caches as the call before left them "
        "(warm, default) or emptied (cold)",
    )
    option(
        "--deadline",
        default=DEADLINE,
        metavar="MS",
        help="what suites/test_realtime.py and test_cloud.py hold answers to; default: 100",
    )
    option(
        "--traffic",
        metavar="FILE",
        help="traffic for suites/test_cloud.py, a CSV with seconds,rate; default: a day's curve",
    )
    option(
        "--cell-timeout",
        default="1200",
        metavar="S",
        help="seconds that one stage of a cell may take; default: 1200",
    )
    option(
        "--cell-memory",
        metavar="GB",
        help="resident memory of one worker; default: half of the machine's",
    )


@dataclass(frozen=True)
class Settings:
    """The options as values, checked."""

    targets: tuple[str, ...]
    models: tuple[str, ...]
    techniques: tuple[str, ...]
    gated: tuple[int, ...]
    reported: tuple[int, ...]
    matrix: str
    effort: str
    gate: str
    policy: Path
    plugins: tuple[Path, ...]
    imagenet: Path | None
    report: Path
    history: Path | None
    export: Path | None
    resume: bool
    plan: bool
    shard: Shard | None
    changed_since: str | None
    max_minutes: float | None
    stage: str | None
    cache: Path
    cache_drop: bool
    threads: Threads
    seed: int
    cache_mode: str
    cell_timeout: float
    cell_memory: int
    deadline: float
    traffic: Path | None
    budget: dict[str, float] = field(default_factory=dict)
    """`latency_ms` and `size_mb`, those that are stated."""
    goal: dict[str, Any] = field(default_factory=dict)
    """`max_drop`, `optimise_for` and `allow`, those that are stated."""
    goals: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each cell that chooses its pipeline itself is to find, by its id (suites.goals)."""

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({*self.gated, *self.reported}))

    @property
    def state(self) -> Path:
        """Where runs with this --report keep what --resume needs."""
        return self.cache / "runs" / digest(str(self.report))[:16]


def read(options: Namespace, root: Path) -> Settings:
    """The settings; raises pytest.UsageError naming the option, what was found and expected."""
    _no_debugger(options)
    batches = tuple(_whole("--batch", one, 1) for one in options.batch or ())
    return Settings(
        targets=tuple(options.target or ["cpu"]),
        models=tuple(options.model or []),
        techniques=tuple(options.technique or []),
        gated=tuple(dict.fromkeys(batches)) or (GATED_BATCH,),
        reported=() if batches else (REPORTED_BATCH,),
        matrix=options.matrix,
        effort=options.effort,
        gate=options.gate,
        policy=Path(options.policy) if options.policy else root / "policy.toml",
        plugins=tuple(Path(one).absolute() for one in options.plugin or ()),
        imagenet=_folder("--imagenet", options.imagenet),
        report=Path(options.report).absolute() if options.report else root / "reports" / "out",
        history=Path(options.history).absolute() if options.history else None,
        export=Path(options.export).absolute() if options.export else None,
        resume=options.resume,
        plan=options.plan,
        shard=Shard.parse(options.shard) if options.shard is not None else None,
        changed_since=options.changed_since,
        max_minutes=_minutes(options.max_minutes),
        stage=options.stage,
        cache=Path(options.cache).absolute() if options.cache else default_cache(),
        cache_drop=options.cache_drop,
        threads=_threads(options.threads),
        seed=_whole("--seed", options.seed, 0),
        cache_mode=options.cache_mode,
        cell_timeout=_positive("--cell-timeout", options.cell_timeout),
        cell_memory=_memory(options.cell_memory),
        budget=_budget(options),
        goal=_goal(options),
        deadline=_positive("--deadline", options.deadline) / 1000,
        traffic=_traffic(options.traffic),
    )


def _whole(name: str, text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise pytest.UsageError(f"{name}: found {text!r}, expected a whole number from {least} up")
    return value


def _float(text: str) -> float:
    """The number that a text is; NaN, which is within no bounds, for any other."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _positive(name: str, text: str) -> float:
    value = _float(text)
    if not (math.isfinite(value) and value > 0):
        raise pytest.UsageError(f"{name}: found {text!r}, expected a number above 0")
    return value


def _budget(options: Namespace) -> dict[str, float]:
    found = {}
    for key, name in BUDGETS.items():
        texts = getattr(options, name.removeprefix("--").replace("-", "_"))
        stated = {_positive(name, text) for text in texts or ()}
        if len(stated) > 1:
            both = " and ".join(f"{one:g}" for one in sorted(stated))
            raise pytest.UsageError(f"{name}: found {both}, which contradict; state one budget")
        if stated:
            found[key] = stated.pop()
    return found


def _goal(options: Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, name in GOALS.items():
        texts = dict.fromkeys(getattr(options, key) or ())
        values = {_share(name, one) if key == "max_drop" else one for one in texts}
        if len(values) > 1:
            raise pytest.UsageError(
                f"{name}: found {' and '.join(texts)}, which contradict; state one"
            )
        if values:
            found[key] = values.pop()
    return found


def _share(name: str, text: str) -> float:
    value = _float(text)
    if not 0 < value < 1:
        raise pytest.UsageError(
            f"{name}: found {text!r}, expected a share of the score above 0 and below 1, such as "
            "0.01 for one point"
        )
    return value


def _minutes(text: str | None) -> float | None:
    return None if text is None else _positive("--max-minutes", text)


def _folder(name: str, text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text).absolute()
    if not path.is_dir():
        raise pytest.UsageError(f"{name}: found {text!r}, which is no folder")
    return path


def _no_debugger(options: Namespace) -> None:
    """`--trace FILE.csv` reads like a trace of traffic, and is pytest's debugger and a path."""
    files = [one for one in getattr(options, "file_or_dir", ()) if Path(one).suffix == ".csv"]
    if getattr(options, "trace", False) and files:
        raise pytest.UsageError(
            f"--trace: it is pytest's own and starts its debugger, expected --traffic {files[0]}"
        )


def _traffic(text: str | None) -> Path | None:
    """The trace's path, its content checked now rather than after the measuring."""
    if text is None:
        return None
    from gauge.serving import traffic

    path = Path(text).absolute()
    try:
        traffic.read(path)
    except traffic.TraceError as error:
        raise pytest.UsageError(f"--traffic: {error}") from error
    return path


def _memory(text: str | None) -> int:
    if text is None:
        import psutil

        return psutil.virtual_memory().total // 2
    return int(_positive("--cell-memory", text) * 2**30)


def _threads(text: str | None) -> Threads:
    allowed = allowance()
    if text is None:
        return default_threads(allowed)
    count = _whole("--threads", text, 1)
    problem = threads_problem(count, allowed)
    if problem:
        raise pytest.UsageError(f"--threads: {problem}")
    return Threads(count, "as --threads says")

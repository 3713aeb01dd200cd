"""The command line: every option, what it accepts, and the settings read from it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gauge.cold import MODES
from gauge.machine import Threads, allowance, default_threads, threads_problem

if TYPE_CHECKING:
    from argparse import Namespace

HEADING = "optgauge (model optimisation gates)"
GATED_BATCH, REPORTED_BATCH = 1, 32
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
        help="release: INCONCLUSIVE and NO_BASELINE fail too; nightly is the default",
    )
    option(
        "--policy", metavar="FILE", help="limits and waivers; default: the project's policy.toml"
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
    option("--export", metavar="DIR", help="copy artifacts whose gates all passed here")
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
    option("--cache", metavar="DIR", help="where trained and optimised models are kept")
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
    export: Path | None
    resume: bool
    plan: bool
    cache: Path
    cache_drop: bool
    threads: Threads
    seed: int
    cache_mode: str
    cell_timeout: float
    cell_memory: int
    deadline: float
    traffic: Path | None

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({*self.gated, *self.reported}))


def read(options: Namespace, root: Path) -> Settings:
    """The settings; raises pytest.UsageError naming the option, what was found and expected."""
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
        export=Path(options.export).absolute() if options.export else None,
        resume=options.resume,
        plan=options.plan,
        cache=Path(options.cache).absolute() if options.cache else _default_cache(),
        cache_drop=options.cache_drop,
        threads=_threads(options.threads),
        seed=_whole("--seed", options.seed, 0),
        cache_mode=options.cache_mode,
        cell_timeout=_positive("--cell-timeout", options.cell_timeout),
        cell_memory=_memory(options.cell_memory),
        deadline=_positive("--deadline", options.deadline) / 1000,
        traffic=_traffic(options.traffic),
    )


def _default_cache() -> Path:
    base = os.environ.get("OPTGAUGE_CACHE")
    if base:
        return Path(base).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optgauge"


def _whole(name: str, text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise pytest.UsageError(f"{name}: found {text!r}, expected a whole number from {least} up")
    return value


def _positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise pytest.UsageError(f"{name}: found {text!r}, expected a number above 0")
    return value


def _folder(name: str, text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text).absolute()
    if not path.is_dir():
        raise pytest.UsageError(f"{name}: found {text!r}, which is no folder")
    return path


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

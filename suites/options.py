"""The command line: every option, what it accepts, and the settings read from it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gauge.cold import MODES
from gauge.machine import Threads, allowance, default_threads, threads_problem

if TYPE_CHECKING:
    from argparse import Namespace

HEADING = "optgauge (model optimisation gates)"
GATED_BATCH, REPORTED_BATCH = 1, 32
BUDGETS = {"latency_ms": "--latency-budget", "size_mb": "--size-budget"}
GOALS = {"max_drop": "--max-drop", "optimise_for": "--optimise-for", "allow": "--allow"}
AIMS = ("latency", "size", "energy", "throughput")
WIDTHS = ("numerics", "structure", "architecture")


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
        "throughput (the largest --batch), size or energy",
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
    budget: dict[str, float] = field(default_factory=dict)
    """`latency_ms` and `size_mb`, those that are stated."""
    goal: dict[str, Any] = field(default_factory=dict)
    """`max_drop`, `optimise_for` and `allow`, those that are stated."""
    goals: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each cell that chooses its pipeline itself is to find, by its id (suites.goals)."""

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
        budget=_budget(options),
        goal=_goal(options),
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


def _folder(name: str, text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text).absolute()
    if not path.is_dir():
        raise pytest.UsageError(f"{name}: found {text!r}, which is no folder")
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

"""Running the suites as a user does, in a process of its own, and reading what they wrote."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports import records

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ROOT / "tests" / "plugins"
# Room for noise where what is planted is several times as slow.
SLOWDOWNS = """
[[limit]]
gate = "regression"
min = 0.5
reason = "planted"
[[limit]]
gate = "speed"
min = 0.01
reason = "planted"
"""


@dataclass
class Ran:
    """A finished run: exit code, what was printed, and its report folder."""

    code: int
    output: str
    report: Path

    @property
    def run(self) -> dict[str, Any]:
        return records.read(self.report).run

    def verdicts(self, cell: str) -> dict[str, dict[str, Any]]:
        """The records of one cell by gate (`speed-b1`)."""
        found = {}
        for record in records.read(self.report).verdicts:
            if record["id"] == cell:
                batch = f"-b{record['batch']}" if record["batch"] is not None else ""
                found[record["gate"] + batch] = record
        return found


def suites(
    report: Path,
    cache: Path,
    *words: str,
    environment: dict[str, str] | None = None,
    what: str = "suites",
) -> Ran:
    """Run `pytest suites/ …`, or another file of it, from the project's folder."""
    command = [sys.executable, "-m", "pytest", what, "-p", "no:cacheprovider"]
    command += ["--report", str(report), "--cache", str(cache), *words]
    # pytest-benchmark measures nothing where it takes itself for a worker of pytest-xdist.
    own = {name: value for name, value in os.environ.items() if "PYTEST_XDIST" not in name}
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={**own, "COLUMNS": "120", **(environment or {})},
    )
    return Ran(done.returncode, done.stdout + done.stderr, report)


def open_to_all(folder: Path) -> None:
    """Let other users read a folder of a test: pytest makes the ones above it for its own alone."""
    temporary = Path(tempfile.gettempdir()).resolve()
    for one in (folder, *folder.parents):
        if temporary in one.parents:
            one.chmod(0o755)


def assert_alone(trace: Path, least: int) -> None:
    """By what tests/plugins/traced.py wrote, every timing ended before another began."""
    told = trace.read_text().splitlines()
    assert len(told) >= 2 * least
    for begun, ended in zip(told[::2], told[1::2], strict=True):
        process = begun.split()[0]
        assert (begun, ended) == (f"{process} begins", f"{process} ends")

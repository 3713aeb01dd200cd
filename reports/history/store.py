"""The history: a folder of runs, each in a folder of its own that appears whole or not at all.

    history.json                      marks the folder, with its schema
    runs/RUN/records.jsonl            the run's records without the single times of its pictures
    runs/RUN/samples.npz              per-sample results of its cells
    runs/RUN/artifacts.json           SHA-256 and cache key of their artifacts
    accepted/*.json                   which run was made the baseline of which machine class
    artifacts/SHA256/                 artifacts kept for confirming, where asked for
    index/                            derived from the runs, and made again when it is gone

Nothing that is written is written again, so two writers never meet and git merges without conflict.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from reports import records
from reports.history import acceptances, machine, samples
from reports.history.acceptances import Accepted
from reports.plain import mapping
from reports.records import Record, RecordError, Records

MARK = "history.json"
VERSION = 1
ASIDE = ".adding-"
ARTIFACTS = "artifacts.json"
IGNORED = f"index/\n{ASIDE}*\n"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass
class History:
    """A history folder that is there; `History.open` checks it."""

    path: Path
    damaged: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | str, *, create: bool = False) -> History:
        """The history at a path; with `create` a missing or empty folder becomes one.

        RecordError for a folder that holds something else, is of a newer schema, or (with
        `create`) cannot be written.
        """
        path = Path(path)
        advice = "name a history folder, or one that is not there yet, with --history"
        if create:
            try:
                _prepare(path)
            except OSError as error:
                raise RecordError(
                    path, None, f"it cannot be written ({_why(error)})", advice
                ) from error
        mark = path / MARK
        try:
            found = json.loads(mark.read_text())
        except FileNotFoundError:
            what = "this folder is no history" if path.is_dir() else "there is no such history"
            raise RecordError(path, None, what, advice) from None
        except NotADirectoryError:
            raise RecordError(path, None, "a file where a folder belongs", advice) from None
        except ValueError as error:
            fix = 'write {"kind": "history", "schema": 1} into it; the runs beside it are whole'
            raise RecordError(mark, None, f"not strict JSON ({error})", fix) from error
        version = mapping(found).get("schema")
        if mapping(found).get("kind") != "history" or not isinstance(version, int):
            raise RecordError(mark, None, "not the mark of a history", advice)
        if version > VERSION:
            what = f"a history of schema {version}, newer than the {VERSION} known here"
            raise RecordError(mark, None, what, "use the Optgauge that wrote it, or a newer one")
        return cls(path)

    # Runs

    @property
    def names(self) -> list[str]:
        """Ids of the runs that are there, oldest first (ids begin with the time)."""
        folder = self.path / "runs"
        found = os.listdir(folder) if folder.is_dir() else []
        return sorted(name for name in found if _NAME.fullmatch(name))

    def folder(self, run: str) -> Path:
        """Where a run lies."""
        return self.path / "runs" / run

    @cached_property
    def runs(self) -> dict[str, Record]:
        """The runs' own records by id, oldest first; what cannot be read goes to `damaged`."""
        found: dict[str, Record] = {}
        for name in self.names:
            try:
                header = records.read_run(self.folder(name))
                if header["run"] != name:
                    what = f"the records of the run {header['run']!r}"
                    raise RecordError(
                        self.folder(name), None, what, f"rename it to {header['run']}"
                    )
            except RecordError as error:
                self.damaged[name] = str(error)
            else:
                found[name] = header
        return found

    def resolve(self, name: str) -> str:
        """The id meant: itself, a part that only one has, `last`, or `accepted`.

        RecordError when none or several are meant, or when the run is damaged.
        """
        if name == "last" and self.runs:
            return list(self.runs)[-1]
        if name == "accepted":
            return self._only_accepted()
        hits = [name] if name in self.names else [run for run in self.names if name in run]
        advice = "`python -m reports list` shows them"
        if len(hits) != 1:
            what = f"no run is called {name!r}" if not hits else f"{len(hits)} runs match {name!r}"
            raise RecordError(self.path, None, what, advice)
        if hits[0] not in self.runs:
            raise RecordError(None, None, self.damaged[hits[0]], "or choose another run")
        return hits[0]

    def _only_accepted(self) -> str:
        found = {one.run for one in self.accepted.values()}
        if len(found) != 1:
            what = (
                f"{len(found)} machine classes have an accepted run"
                if found
                else "no run is accepted"
            )
            raise RecordError(self.path, None, what, "name a run; `list` marks the accepted ones")
        return found.pop()

    def add(self, found: Records, folder: Path | None) -> Path:
        """Keep a run and its per-sample results; returns its folder.

        folder: the `samples` folder of its report. A failure leaves nothing behind. RecordError
        when the run is there already, or cannot be written whole.
        """
        name = found.run["run"]
        if not _NAME.fullmatch(name):
            raise RecordError(None, None, f"a run called {name!r}", "use letters, digits, `.-_`")
        final = self.folder(name)
        try:
            with self.aside("runs") as aside:
                # In a file of their own: a trend reads the records of all runs, and none of these.
                content = json.dumps(found.run.get("artifacts") or {}, indent=0, allow_nan=False)
                records.replace(aside / ARTIFACTS, content.encode())
                header = {name: part for name, part in found.run.items() if name != "artifacts"}
                records.write(aside / records.FILE, header, map(_slim, found.verdicts))
                samples.pack(folder, [one["id"] for one in found.verdicts], aside / samples.FILE)
                # Of two that add the same run one finds the folder there, and full.
                os.rename(aside, final)
                _sync(final.parent)
        except OSError as error:
            if final.exists():
                what, advice = "the history holds this run already", "nothing needs to be done"
                raise RecordError(final, None, what, advice) from None
            what = f"the run {name} could not be added ({_why(error)})"
            advice = (
                "it is whole in the folder of its --report: make room, then "
                "`python -m reports merge REPORT --history HISTORY`"
            )
            raise RecordError(self.path, None, what, advice) from error
        self.__dict__.pop("runs", None)
        return final

    @contextlib.contextmanager
    def aside(self, kind: str) -> Iterator[Path]:
        """A folder to write in, beside where it is renamed to when it is whole."""
        folder = self.path / kind
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{ASIDE}{secrets.token_hex(6)}"
        aside.mkdir()
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    # Baselines

    @property
    def accepted(self) -> dict[str, Accepted]:
        """The latest accepted run of each machine class; RecordError for a damaged file."""
        return {one.machine: one for one in self.acceptances}

    @property
    def acceptances(self) -> list[Accepted]:
        """Every acceptance, oldest first."""
        return acceptances.read(self.path / acceptances.FOLDER)

    def accept(self, run: str, new_level: str | None = None) -> Accepted:
        """Make a run the baseline of its machine class."""
        one = Accepted(run, machine.class_of(self.runs[run]), acceptances.now(), new_level)
        acceptances.write(self.path / acceptances.FOLDER, one)
        return one

    # Clearing

    def leftovers(self) -> list[Path]:
        """What killed writers left: never part of the history."""
        found = [
            *self.path.glob(f"*/{ASIDE}*"),
            *self.path.glob(".*.tmp"),
            *self.path.glob("*/.*.tmp"),
        ]
        return sorted(found)

    def remove(self, run: str) -> None:
        """Remove a run: out of sight at once, then from the disk."""
        gone = self.path / "runs" / f"{ASIDE}{secrets.token_hex(6)}"
        os.rename(self.folder(run), gone)
        shutil.rmtree(gone)
        self.__dict__.pop("runs", None)


def _prepare(path: Path) -> None:
    """Make the folder a history if it is new or empty, and see that it can be written."""
    path.mkdir(parents=True, exist_ok=True)
    # Hidden files are no content: a new repository's, or another process's that does the same now.
    if all(one.name.startswith(".") for one in path.iterdir()):
        mark = {"kind": "history", "schema": VERSION}
        records.replace(path / MARK, (json.dumps(mark) + "\n").encode())
        records.replace(path / ".gitignore", IGNORED.encode())
    probe = path / f"{ASIDE}{secrets.token_hex(6)}"
    probe.write_bytes(b"")
    probe.unlink()


def _slim(verdict: Record) -> Record:
    """A verdict without the single times that only the run's own page draws."""
    slim = dict(verdict)
    for arm in ("baseline", "candidate"):
        if isinstance(slim.get(arm), dict) and "samples" in slim[arm]:
            slim[arm] = {key: value for key, value in slim[arm].items() if key != "samples"}
    return slim


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__

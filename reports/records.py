"""Reading and writing records.jsonl: the run's line, then one line a verdict, strict JSON."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from reports import schema

FILE = "records.jsonl"

Record = dict[str, Any]

# json.loads turns a literal that is too large into infinity. Only such literals can hold one; two
# searches, since one with an alternative takes three times as long.
_LARGE = (re.compile(r"[eE]\+?[0-9]{3}"), re.compile(r"[0-9]{300}"))


class RecordError(Exception):
    """A record file (or a record about to be written) is not what it must be.

    path, line: where (line None when the whole file is meant). found: what is there.
    advice: what to do about it.
    """

    def __init__(self, path: Path | str | None, line: int | None, found: str, advice: str) -> None:
        self.path, self.line, self.found, self.advice = path, line, found, advice
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(f"{where}{found}; {advice}")


@dataclass(frozen=True)
class Records:
    """One run: its own record, its verdicts in file order, and what could not be read of it.

    problems is empty unless the records come from `read_partial`.
    """

    run: Record
    verdicts: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def locate(path: Path | str) -> Path:
    """The record file meant by a path: the file itself, or `records.jsonl` in a directory."""
    path = Path(path)
    return path / FILE if path.is_dir() else path


def encode(record: Record) -> str:
    """One line of strict JSON without its line end; RecordError names the field that is wrong."""
    kind = record.get("kind")
    if kind not in ("run", "verdict"):
        _refuse(None, None, f"a record of the kind {kind!r}", 'write "run" or "verdict"')
    if found := schema.not_plain(record) or schema.problem(record, kind):
        _refuse(None, None, f"{_name(record)}: {found}", "write null and say why in `reason`")
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write(path: Path | str, run: Record, verdicts: Iterable[Record]) -> Path:
    """Write a whole record file; a failure, or a kill, leaves the one that was there before.

    A complete run's line gets the number of verdicts (`verdicts`), so that a file cut off between
    two lines is noticed. Raises RecordError (and leaves the file as it was) for a record that is
    not strict JSON or not as schema.json says, of another run, or there twice.
    """
    path = Path(path)
    verdicts = list(verdicts)
    run = {name: value for name, value in run.items() if name != "verdicts"}
    if run.get("complete"):
        run["verdicts"] = len(verdicts)
    lines = [encode(record) for record in (run, *verdicts)]
    seen: dict[tuple[Any, ...], int] = {}
    for number, verdict in enumerate(verdicts, start=2):
        _check_place(path, number, verdict, run, seen)
    replace(path, _bytes(lines))
    return path


def append(path: Path | str, verdicts: Iterable[Record]) -> None:
    """Add verdicts at the end of the file of a run that is not complete, and fsync.

    Costs the same however long the file is. What a kill cuts off, `read` refuses and
    `read_partial` leaves out. Raises RecordError, with nothing written, as `write` does.
    """
    content = _bytes([encode(verdict) for verdict in verdicts])
    with Path(path).open("r+b") as file:
        # A kill in the middle of an earlier append left half a line: the next one starts afresh.
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            content = content if file.read(1) == b"\n" else b"\n" + content
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _bytes(lines: list[str]) -> bytes:
    # A lone surrogate (from an odd file name) becomes its own JSON escape and reads back as it was.
    return "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace")


def replace(path: Path, content: bytes) -> None:
    """Put content at path through a temporary file beside it: fsync, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: Path | str) -> Records:
    """All records of a file (or of the directory that holds it); RecordError if anything is off."""
    path = locate(path)
    records = _parse(path, _text(path))
    return Records(*records)


def read_run(path: Path | str) -> Record:
    """The run's own record alone, the first line of a file; RecordError if that line is off."""
    path = locate(path)
    try:
        with path.open("rb") as file:
            line = file.readline()
    except OSError as error:
        found = f"it cannot be read ({error.strerror or type(error).__name__})"
        raise RecordError(path, None, found, "restore it, or name another") from error
    if not line.strip():
        _refuse(path, None, "the file is empty", "restore it, or name another")
    try:
        return _record(path, 1, line.decode("utf-8"), "run", True)
    except UnicodeDecodeError:
        raise RecordError(path, 1, "bytes that are not UTF-8", _DAMAGED) from None


def read_partial(path: Path | str) -> Records:
    """The records that are whole, with the list of problems; RecordError without a run's line."""
    path = locate(path)
    problems: list[RecordError] = []
    run, verdicts = _parse(path, _text(path, problems), problems)
    return Records(run, verdicts, [str(found) for found in problems])


def _text(path: Path, problems: list[RecordError] | None = None) -> str:
    again = "run `pytest suites/` again, or name the directory that its --report wrote"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RecordError(path, None, "there is no such record file", again) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RecordError(path, None, f"it cannot be read ({reason})", again) from error
    if not content.strip():
        _refuse(path, None, "the file is empty", "the run wrote nothing: run it again")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = RecordError(path, line, "bytes that are not UTF-8", _DAMAGED)
        if problems is None:
            raise found from None
        problems.append(found)
        return content.decode("utf-8", "replace")


_DAMAGED = "the file was cut off or changed: restore it, or run again with --resume"


def _parse(
    path: Path, text: str, problems: list[RecordError] | None = None
) -> tuple[Record, list[Record]]:
    # Only \n ends a line: splitlines() would also split at characters that names may hold.
    lines = text.rstrip("\n").split("\n")
    run = _record(path, 1, lines[0], "run", len(lines) == 1)
    verdicts: list[Record] = []
    seen: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            record = _record(path, number, line, "verdict", number == len(lines))
            _check_place(path, number, record, run, seen)
        except RecordError as error:
            if problems is None:
                raise
            problems.append(error)
        else:
            verdicts.append(record)
    stated = run.get("verdicts")
    if stated is not None and stated != len(lines) - 1:
        found = f"{len(lines) - 1} verdicts where the run's line states {stated}"
        if problems is None:
            _refuse(path, len(lines), found, _DAMAGED)
        problems.append(RecordError(path, len(lines), found, _DAMAGED))
    return run, verdicts


def _check_place(
    path: Path, number: int, verdict: Record, run: Record, seen: dict[tuple[Any, ...], int]
) -> None:
    """Refuse a verdict of another run, or one that an earlier line has; seen grows by it."""
    if verdict["run"] != run["run"]:
        found = f"a verdict of the run {verdict['run']!r} in the file of {run['run']!r}"
        _refuse(path, number, found, "keep one run a file")
    first = seen.setdefault(key(verdict), number)
    if first != number:
        found = f"the verdict of line {first} again ({_name(verdict)})"
        _refuse(path, number, found, "keep one of the two")


def _record(path: Path, number: int, line: str, kind: str, last: bool) -> Record:
    try:
        record = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_no_double)
    except (ValueError, RecursionError) as error:
        what = "a line that is cut off" if last and line.startswith("{") else "not strict JSON"
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        _refuse(path, number, f"{what} ({reason[:120]})", _DAMAGED)
    if not isinstance(record, dict):
        _refuse(path, number, f"a {type(record).__name__} where a record belongs", _DAMAGED)
    version = record.get("schema")
    if isinstance(version, int) and version > schema.VERSION:
        found = f"records of schema {version}, newer than the {schema.VERSION} known here"
        _refuse(path, number, found, "read them with the Optgauge that wrote them, or a newer one")
    if record.get("kind") != kind:
        found = f"a line of the kind {str(record.get('kind'))[:40]!r} where a {kind} belongs"
        _refuse(path, number, found, "the first line is the run, every other one a verdict")
    if (wrong := schema.problem(record, kind)) is not None:
        _refuse(path, number, wrong, "see reports/schema.json for what a record holds")
    if any(large.search(line) for large in _LARGE) and (wrong := schema.not_plain(record)):
        _refuse(path, number, wrong, "a number that is not finite is written as null")
    return record


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_double(pairs: Sequence[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a field is there twice")
    return record


def _refuse(path: Path | str | None, line: int | None, found: str, advice: str) -> NoReturn:
    raise RecordError(path, line, found, advice)


def key(verdict: Record) -> tuple[Any, ...]:
    """What makes a verdict unique in its run: model, technique, target, gate and batch."""
    cell = verdict["cell"]
    return (*cell_key(cell), verdict["gate"], verdict.get("batch"))


def cell_key(cell: Record) -> tuple[str, str, str]:
    """What makes a cell unique in its run: model, technique and target."""
    return cell["model"], cell["technique"], cell["target"]


def _name(record: Record) -> str:
    cell = record.get("cell")
    if not isinstance(cell, dict):
        return f"the {record.get('kind')} record"
    names = "-".join(str(cell.get(part)) for part in ("model", "technique", "target"))
    batch = f"-b{record['batch']}" if record.get("batch") is not None else ""
    return f"{names} {record.get('gate')}{batch}"

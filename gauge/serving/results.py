"""What LoadGen's detail log says of a run, and in plain words why one does not count."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DETAIL = "mlperf_log_detail.txt"
MARK = ":::MLLOG "
PERCENTILES = {"p50": "50.00", "p90": "90.00", "p99": "99.00"}
RATES = {"Server": "result_completed_samples_per_sec", "Offline": "result_samples_per_second"}


class LogError(ValueError):
    """LoadGen's log cannot be read; the message names the file and line."""


def read(folder: Path, scenario: str, seconds: float) -> dict[str, Any]:
    """A performance run in numbers: latencies in s, rates in samples a second.

    "valid": LoadGen's own word, with "reasons" and "advice" where it is no. "late": the share of
    queries that missed Server's deadline. "bound_s": the 99th percentile that early stopping
    vouches for, where the scenario has one.
    """
    log, faults = parse(folder / DETAIL)

    def latency(key: str) -> float | None:
        value = log.get(key)
        return None if value is None else value / 1e9

    queries = log.get("result_query_count", log.get("generated_query_count", 0))
    reasons = [*_reasons(log, scenario, seconds), *faults]
    late = log.get("result_overlatency_query_count")
    found = {
        "scenario": scenario,
        "valid": log.get("result_validity") == "VALID" and not faults,
        "reasons": reasons,
        "advice": advice(log, reasons),
        "too_slow": log.get("result_perf_constraints_met") is False,
        "queries": queries,
        "seconds": seconds,
        "late": None if late is None or not queries else late / queries,
        "scheduled": log.get("result_scheduled_samples_per_sec"),
        "rate": log.get(RATES.get(scenario, "")),
        "bound_s": latency(BOUNDS.get(scenario, "")),
        **{
            f"{name}_s": latency(
                f"result_{percent}_percentile_{_MIDDLE.get(scenario, '')}latency_ns"
            )
            for name, percent in PERCENTILES.items()
        },
    }
    return found


_MIDDLE = {"MultiStream": "per_query_"}
BOUNDS = {"SingleStream": "early_stopping_latency_ss", "MultiStream": "early_stopping_latency_ms"}


def parse(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The last value of every key, and what LoadGen logged as an error."""
    found: dict[str, Any] = {}
    faults = []
    for number, entry in _entries(path):
        try:
            found[entry["key"]] = entry["value"]
            if entry["metadata"]["is_error"]:
                faults.append(_fault(str(entry["value"])))
        except (KeyError, TypeError) as error:
            raise LogError(f"{path.name}:{number}: an entry without {error}") from error
    if not found:
        raise LogError(f"{path.name}: no entries: LoadGen ended before it wrote any")
    return found, faults


def _fault(text: str) -> str:
    """What LoadGen logged as an error; what it does so by its own rules in plain words."""
    if "Max test duration reached" in text:
        after = text.rpartition(" ")[2]
        seconds = f" after {int(after) / 1e9:.0f} s" if after.isdigit() else ""
        return f"it was stopped{seconds}, before it had the queries that it needs"
    return f"LoadGen reports an error: {text}"


def _entries(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise LogError(f"{path.name}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        if line.startswith(MARK):
            try:
                yield number, json.loads(line.removeprefix(MARK))
            except ValueError as error:
                raise LogError(f"{path.name}:{number}: no JSON ({error})") from error


def _reasons(log: Mapping[str, Any], scenario: str, seconds: float) -> list[str]:
    """Each rule that the run does not keep, as a sentence."""
    queries = log.get("result_query_count", 0)
    found = []
    if log.get("result_perf_constraints_met") is False:
        found.append("more than 1 in 100 answers came after the deadline")
    if log.get("result_min_duration_met") is False:
        found.append(f"it ended before its least duration of {seconds:g} s")
    if log.get("result_min_queries_met") is False:
        least = log.get("effective_min_query_count")
        found.append(f"{queries} queries were answered, and at least {least} are asked")
    if log.get("early_stopping_met") is False:
        found.append(f"{queries} queries are too few to vouch for 99 of 100 answers")
    return found


def advice(log: Mapping[str, Any], reasons: list[str]) -> str | None:
    """What to do about a run that does not count, or None."""
    if not reasons:
        return None
    if log.get("result_perf_constraints_met") is False:
        return "allow a longer --deadline, or keep other programs off this machine"
    return "give it longer runs with --effort thorough"

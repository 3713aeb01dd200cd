"""MLCommons LoadGen (mlcommons-loadgen 6) against servers: its scenarios, rules and logs.

Reddi et al., "MLPerf Inference Benchmark", ISCA 2020. LoadGen says when a query is due, times it,
and judges whether the run counts: least duration and queries, and early stopping (how many queries
it takes to vouch for a percentile with a confidence of 99 %). None of that is changed here but the
least duration, which MLPerf asks to be 600 s.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gauge.serving import results
from gauge.serving.client import Servers

PACKAGE = "mlperf_loadgen"
MLPERF_SECONDS = 600
MULTI_STREAM_SAMPLES = 8
PERCENTILE = 0.99
MOST_PERFORMANCE_SAMPLES = 1024
MORE = 30.0
"""Seconds beyond its least duration that a run which lacks queries goes on; then it does not
count."""
ENOUGH = 662
"""Queries from which early stopping can vouch for a 99th percentile of latencies."""
LEAST_QUERIES = {"SingleStream": ENOUGH, "MultiStream": ENOUGH, "Server": ENOUGH, "Offline": 1}
TRACE, ANSWERS = "mlperf_log_trace.json", "mlperf_log_accuracy.json"


class Unavailable(RuntimeError):
    """LoadGen is not installed; the message says what to do."""


def missing() -> str | None:
    """Why there is no LoadGen here, or None."""
    if importlib.util.find_spec(PACKAGE):
        return None
    return (
        "MLCommons LoadGen is not installed (package mlcommons-loadgen): "
        "pip install 'optgauge[serving]'"
    )


@dataclass(frozen=True)
class Ask:
    """One LoadGen run.

    scenario: SingleStream, MultiStream, Server or Offline. seconds: its least duration. samples:
    how many the data set has. deadline: seconds that Server's answers may take. rate: Server's
    queries a second; for Offline, samples a second to expect. accuracy: every sample once, the
    answers logged. least: the fewest queries, where not the scenario's own. expected: seconds of
    an answer, from which LoadGen reckons how many queries to have at hand.
    """

    scenario: str
    seconds: float
    samples: int
    deadline: float = 0.1
    rate: float = 1.0
    accuracy: bool = False
    least: int | None = None
    expected: float = 1e-3


def run(ask: Ask, servers: Servers, folder: Path) -> dict[str, Any]:
    """Let LoadGen ask the servers and read what it says; its logs stay in `folder`.

    Raises client.ServerDied, every query counted, when a server ended.
    """
    import mlperf_loadgen as lg

    folder.mkdir(parents=True, exist_ok=True)
    servers.begin()
    servers.complete = _complete
    sut = lg.ConstructSUT(
        lambda queries: servers.send([(one.id, one.index) for one in queries]), lambda: None
    )
    some = min(ask.samples, MOST_PERFORMANCE_SAMPLES)
    qsl = lg.ConstructQSL(ask.samples, some, lambda rows: None, lambda rows: None)
    try:
        lg.StartTestWithLogSettings(sut, qsl, _settings(ask), _logs(folder))
    finally:
        lg.DestroyQSL(qsl)
        lg.DestroySUT(sut)
    (folder / TRACE).unlink(missing_ok=True)
    servers.check()
    if ask.accuracy:
        return {"scenario": ask.scenario, "queries": ask.samples}
    (folder / ANSWERS).unlink(missing_ok=True)
    return results.read(folder, ask.scenario, ask.seconds)


def answers(folder: Path, samples: int) -> dict[int, bytes]:
    """The answers that LoadGen logged in an accuracy run, by sample; the log is removed.

    ValueError where a sample was answered twice, never, or without content.
    """
    path = folder / ANSWERS
    found: dict[int, bytes] = {}
    for entry in json.loads(path.read_text()):
        number = entry["qsl_idx"]
        if number in found:
            raise ValueError(f"sample {number} was answered twice")
        found[number] = bytes.fromhex(entry["data"])
    path.unlink()
    absent = samples - sum(bool(data) for data in found.values())
    if absent:
        raise ValueError(f"{absent} of {samples} samples have no answer")
    return found


def _complete(ids: list[int], rows: np.ndarray | None) -> None:
    import mlperf_loadgen as lg

    if rows is None:  # a lost answer: LoadGen waits for it all the same
        lg.QuerySamplesComplete([lg.QuerySampleResponse(one, 0, 0) for one in ids])
        return
    start, size = rows.ctypes.data, rows.shape[1]
    lg.QuerySamplesComplete(
        [lg.QuerySampleResponse(one, start + place * size, size) for place, one in enumerate(ids)]
    )


def _settings(ask: Ask) -> Any:
    import mlperf_loadgen as lg

    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, ask.scenario)
    mode = "AccuracyOnly" if ask.accuracy else "PerformanceOnly"
    settings.mode = getattr(lg.TestMode, mode)
    settings.min_duration_ms = round(1000 * ask.seconds)
    settings.max_duration_ms = round(1000 * (ask.seconds + MORE))
    settings.min_query_count = ask.least or LEAST_QUERIES[ask.scenario]
    settings.single_stream_target_latency_percentile = PERCENTILE
    settings.multi_stream_target_latency_percentile = PERCENTILE
    settings.multi_stream_samples_per_query = MULTI_STREAM_SAMPLES
    settings.single_stream_expected_latency_ns = round(1e9 * ask.expected)
    settings.multi_stream_expected_latency_ns = round(1e9 * ask.expected)
    settings.server_target_latency_percentile = PERCENTILE
    settings.server_target_latency_ns = round(1e9 * ask.deadline)
    settings.server_target_qps = ask.rate
    settings.offline_expected_qps = ask.rate
    return settings


def _logs(folder: Path) -> Any:
    import mlperf_loadgen as lg

    output = lg.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    logs = lg.LogSettings()
    logs.enable_trace = False
    logs.log_output = output
    return logs

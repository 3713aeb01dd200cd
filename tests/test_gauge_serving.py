"""Servers in processes of their own under MLCommons LoadGen: answers, validity, deaths."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest

from gauge.serving import loadgen, results, server, wire
from gauge.serving.batching import Policy
from gauge.serving.client import ServerDied, Servers
from gauge.serving.loadgen import Ask

pytest.importorskip(loadgen.PACKAGE, reason="MLCommons LoadGen is not installed")

SAMPLES = 40


def double(samples):
    """The model: twice the sample's number, as bytes."""
    return (2 * np.asarray(samples, dtype="<f4")).reshape(-1, 1).view("u1")


def opened(run=double):
    return lambda connection: server.serve(connection, lambda: (run, SAMPLES), 4)


@pytest.fixture
def servers():
    with Servers(opened(), [None, None]) as found:
        found.set(Policy(4))
        yield found


def test_a_server_says_how_long_its_batches_take(servers):
    for ready in servers.ready:
        assert ready["samples"] == SAMPLES
        assert list(ready["services"]) == ["1", "2", "4"]
        assert all(seconds > 0 for times in ready["services"].values() for seconds in times)


def test_answers_under_load_are_those_of_their_samples(servers, tmp_path):
    for scenario in ("Server", "Offline"):
        ask = Ask(scenario, 0.2, SAMPLES, rate=2000, accuracy=True)
        loadgen.run(ask, servers, tmp_path / scenario)
        found = loadgen.answers(tmp_path / scenario, SAMPLES)
        got = [float(np.frombuffer(found[one], "<f4")[0]) for one in range(SAMPLES)]
        assert got == [2.0 * one for one in range(SAMPLES)]
        assert servers.issued == servers.answered == SAMPLES


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Server"])
def test_a_scenario_that_keeps_loadgen_s_rules_is_valid(servers, tmp_path, scenario):
    found = loadgen.run(Ask(scenario, 0.3, SAMPLES, 0.5, 3000, expected=2e-5), servers, tmp_path)
    assert found["valid"], found
    assert found["queries"] >= loadgen.ENOUGH
    assert 0 < found["p50_s"] <= found["p90_s"] <= found["p99_s"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "mlperf_log_summary.txt",
        "mlperf_log_detail.txt",
    }


def test_too_few_queries_are_invalid_in_plain_words(servers, tmp_path):
    found = loadgen.run(Ask("Server", 0.1, SAMPLES, 0.5, 200, least=20), servers, tmp_path)
    assert not found["valid"]
    assert "queries are too few to vouch for 99 of 100 answers" in found["reasons"][0]
    assert found["advice"] == "give it longer runs with --effort thorough"


def test_late_answers_are_told(tmp_path):
    slow = lambda samples: time.sleep(0.004) or double(samples)  # noqa: E731
    with Servers(opened(slow), [None]) as servers:
        found = loadgen.run(Ask("Server", 0.2, SAMPLES, 0.002, 50, least=20), servers, tmp_path)
    assert found["too_slow"]
    assert found["late"] == 1.0
    assert "came after the deadline" in found["reasons"][0]
    assert "--deadline" in found["advice"]


def test_a_server_that_is_killed_loses_no_query_from_the_count(servers, tmp_path):
    victim = servers._one[0].pid
    threading.Timer(0.2, os.kill, (victim, signal.SIGKILL)).start()
    with pytest.raises(ServerDied) as caught:
        loadgen.run(Ask("Server", 1.0, SAMPLES, 0.5, 500), servers, tmp_path)
    assert "killed by SIGKILL under load" in str(caught.value)
    assert servers.issued == servers.answered + servers.lost
    assert 0 < servers.answered < servers.issued
    assert f"{servers.issued} queries were issued, {servers.answered} answered" in str(caught.value)
    with pytest.raises(ServerDied):
        servers.begin()
    # A thread that LoadGen knows and that ends during a run has it crash, one time in fifty.
    reader = servers._one[0].reader
    assert reader.is_alive()
    servers.close()
    assert not reader.is_alive()


def test_a_model_that_raises_is_told_with_its_words(tmp_path):
    def run(samples):
        if os.environ.get("READY"):
            raise ZeroDivisionError("no answer left")
        if len(samples) == 4:
            os.environ["READY"] = "yes"  # in the server's process alone, once it is warm
        return double(samples[:4])

    def warm(connection):
        server.serve(connection, lambda: (run, SAMPLES), 1)

    def broken(connection):
        os.environ["READY"] = "yes"
        server.serve(connection, lambda: (run, SAMPLES), 1)

    with pytest.raises(ServerDied, match="raised ZeroDivisionError: no answer left"):
        Servers(broken, [None])
    with Servers(warm, [None]) as servers:
        servers.set(Policy(4))
        servers.send([(number, 0) for number in range(4)])
        servers.send([(9, 0)])
        deadline = time.monotonic() + 5
        while servers.problem is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert servers.problem == "the server's model raised ZeroDivisionError: no answer left"


def test_a_server_that_ends_before_it_is_ready_is_told():
    with pytest.raises(ServerDied, match="exit code 3 before it was ready"):
        Servers(lambda connection: os._exit(3), [None])


def test_loadgen_s_absence_says_what_to_install(monkeypatch):
    assert loadgen.missing() is None
    monkeypatch.setattr(loadgen, "PACKAGE", "no_such_package")
    assert "pip install 'optgauge[serving]'" in loadgen.missing()


def test_messages_come_back_as_they_went():
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    message = wire.answers([7, 2**63, 1], rows)
    assert message[:1] == wire.ANSWERS
    ids, back = wire.read_answers(message[1:])
    assert ids == [7, 2**63, 1]
    assert np.array_equal(back, rows)
    assert wire.read_queries(wire.queries(1.5, [(2**63, 4)])[1:]) == (1.5, [(2**63, 4)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no entries"),
        (":::MLLOG {", ":1: no JSON"),
        ("x\n:::MLLOG {}\n", ":2: an entry without"),
    ],
)
def test_a_log_that_cannot_be_read_names_its_line(tmp_path, text, said):
    (tmp_path / results.DETAIL).write_text(text)
    with pytest.raises(results.LogError, match=said):
        results.read(tmp_path, "Server", 1.0)


def test_a_run_that_took_too_long_is_told_in_plain_words(tmp_path):
    value = "IssueQueryThread 0 Ending early: Max test duration reached. duration_ns 8002880262"
    lines = [
        {"key": "result_validity", "value": "VALID", "metadata": {"is_error": False}},
        {"key": "error_runtime", "value": value, "metadata": {"is_error": True}},
        {"key": "error_runtime", "value": "no room", "metadata": {"is_error": True}},
    ]
    text = "".join(f"{results.MARK}{json.dumps(one)}\n" for one in lines)
    (tmp_path / results.DETAIL).write_text(text)
    found = results.read(tmp_path, "SingleStream", 5.0)
    assert not found["valid"]
    assert found["reasons"] == [
        "it was stopped after 8 s, before it had the queries that it needs",
        "LoadGen reports an error: no room",
    ]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([(0, "00"), (0, "00")], "sample 0 was answered twice"),
        ([(0, "00")], "1 of 2 samples have no answer"),
        ([(0, "00"), (1, "")], "1 of 2 samples have no answer"),
    ],
)
def test_answers_that_are_not_one_a_sample_are_an_error(tmp_path, entries, said):
    log = [{"seq_id": 0, "qsl_idx": number, "data": data} for number, data in entries]
    (tmp_path / loadgen.ANSWERS).write_text(json.dumps(log))
    with pytest.raises(ValueError, match=said):
        loadgen.answers(tmp_path, 2)

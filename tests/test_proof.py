"""The proof's own plumbing, on counts too small to prove anything; nothing here asserts a time."""

import contextlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parent))

import proof
import proof_aa
import proof_lab
import proof_sizes
import proof_slowdown
import proof_verdict_time
import proof_zoo
from proof_store import Store
from proof_tables import share

from gauge.sequential import LOOKS, QUICK_LOOKS
from suites.rounds import Track

PEERS = proof_verdict_time.PEERS


@pytest.fixture(scope="module")
def lab():
    with proof_lab.Lab() as made:
        yield made


@pytest.fixture
def quick(lab):
    """Few looks and short processes, in one lab."""
    return {"looks": QUICK_LOOKS, "seconds": 0.02, "open_lab": lambda: contextlib.nullcontext(lab)}


# Intervals and the store


@pytest.mark.parametrize(("count", "of"), [(0, 2995), (3, 10), (10, 10)])
def test_intervals_are_clopper_and_pearsons(count, of):
    found = share(count, of)
    low = 0.0 if count == 0 else beta.ppf(0.025, count, of - count + 1)
    high = 1.0 if count == of else beta.ppf(0.975, count + 1, of - count)
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))


def test_nothing_measured_has_no_interval_and_says_so():
    assert share(0, 0)["reason"] == "nothing was measured"


def test_a_store_goes_on_and_tells_each_sitting(tmp_path):
    path = tmp_path / "a.jsonl"
    Store(path, {"seed": 0}).add({"value": 1})
    again = Store(path, {"seed": 0})
    again.add({"value": 2})
    found = Store(path, {"seed": 0})
    assert [(one["value"], one["sitting"]) for one in found.lines] == [(1, 0), (2, 1)]
    assert [one["sitting"] for one in found.sittings] == [0, 1]
    assert found.sittings[0]["machine"]["threads"] == 1


def test_other_settings_are_never_pooled(tmp_path):
    path = tmp_path / "a.jsonl"
    Store(path, {"seed": 0, "seconds": 0.3}).add({"value": 1})
    with pytest.raises(SystemExit, match=r"seconds was 0.3 and is 0.6.*--store"):
        Store(path, {"seed": 0, "seconds": 0.6})


def test_a_line_that_a_kill_cut_off_is_taken_out(tmp_path):
    path = tmp_path / "a.jsonl"
    Store(path, {"seed": 0}).add({"value": 1})
    with path.open("a") as file:
        file.write('{"kind": "line", "val')
    store = Store(path, {"seed": 0})
    assert [one["value"] for one in store.lines] == [1]
    store.add({"value": 2})
    assert [one["value"] for one in Store(path, {"seed": 0}).lines] == [1, 2]


# The command


def command(folder, *words):
    proof.main(["--store", str(folder / "store"), "--out", str(folder / "out"), *words])
    text = (folder / "out" / "proof.md").read_text(encoding="utf-8")
    return text, json.loads((folder / "out" / "proof.json").read_text(encoding="utf-8"))


def test_the_command_measures_what_is_missing_and_writes_both_files(tmp_path, monkeypatch):
    monkeypatch.setattr(proof.signal, "signal", lambda *_: None)
    command(tmp_path, "--piece", "zoo", "--count", "1")
    first = (tmp_path / "store" / "zoo.jsonl").read_text()
    text, found = command(tmp_path, "--piece", "zoo", "--count", "3")
    assert (tmp_path / "store" / "zoo.jsonl").read_text().startswith(first)
    assert found["pieces"]["zoo"]["result"]["green"]["of"] == 3
    assert [one["lines"] for one in found["pieces"]["zoo"]["sittings"]] == [1, 2]
    assert found["pieces"]["aa"] | {"settings": 0, "sittings": 0} == {
        "settings": 0,
        "sittings": 0,
        "lines": 0,
        "result": None,
        "reason": "not measured yet",
    }
    assert "of 3 = " in text
    assert "## aa\n\nNot measured yet." in text
    # Resumed or at once, the same seed draws the same.
    assert [one["green"] for one in proof_zoo.run(0, 3)] == [
        json.loads(line)["green"]
        for line in (tmp_path / "store" / "zoo.jsonl").read_text().splitlines()
        if json.loads(line)["kind"] == "line"
    ]


def test_minutes_end_between_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(proof.signal, "signal", lambda *_: None)
    command(tmp_path, "--piece", "zoo", "--count", "2000", "--minutes", "0.005")
    store = proof.open_store(tmp_path / "store", proof_zoo, 0)
    assert 0 < len(store.lines) < 2000


@pytest.mark.parametrize("words", [["--count", "0"], ["--minutes", "nan"], ["--piece", "zo"]])
def test_words_that_mean_nothing_are_refused(tmp_path, words):
    with pytest.raises(SystemExit) as ended:
        command(tmp_path, *words)
    assert ended.value.code == 2


# Simulations


def test_sizes_keep_their_levels_and_autocorrelation_does_not():
    found = proof_sizes.summary(list(proof_sizes.run(1, 1)))
    for noise in ("normal", "t4", "contaminated", "mixed"):
        assert found[noise]["passed"]["low"] < 0.05
        assert found[noise]["failed"]["low"] < 0.001
        assert found[noise]["passed"]["of"] == proof_sizes.SEQUENCES
    assert found["autocorrelated"]["failed"]["low"] > 0.001
    assert proof_sizes.page(found)


def test_batches_of_a_noise_differ_and_are_drawn_again_alike():
    lines = list(proof_sizes.run(2, 2, sequences=2000))
    kinds = len(proof_sizes.NOISES)
    assert lines[0]["passed"] != lines[kinds]["passed"]
    assert list(proof_sizes.run(2, 2, done=lines[:3], sequences=2000)) == lines[3:]


def test_a_harmless_zoo_is_green_and_a_harmful_cell_is_not():
    lines = list(proof_zoo.run(0, 20))
    found = proof_zoo.summary(lines)
    assert found["green"]["count"] >= 16
    assert found["harmful_passed"]["high"] < 0.025
    assert found["edge_passed"]["of"] == 2000
    assert proof_zoo.page(found)


def test_accuracy_limits_of_the_zoo_lie_outside_the_dead_band():
    for n, differ, _, margin in (proof_zoo.REAL[3], proof_zoo.REAL[8]):
        assert proof_zoo.power(n, differ, margin) >= proof_zoo.POWER
        if margin > proof_zoo.MARGIN:
            assert proof_zoo.power(n, differ, margin - 0.0025) < proof_zoo.POWER


# Timed pieces


def matrix_products(arguments):
    """In a worker: matrix products of one call of each arm; a linear layer is none, it adds."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from suites import world as shared

    class Count(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten.mm.default
            return function(*args, **(kwargs or {}))

    world = shared.World(arguments)
    found = {}
    for name, call in (("baseline", world.baseline()), ("candidate", shared.load_candidate(world))):
        with torch.no_grad(), Count() as counted:
            call(*world.example(1)[0])
        found[name] = counted.count
    return found


def test_gates_of_a_model_against_itself_in_both_conditions(quick):
    lines = list(proof_aa.run(0, 2, **quick))
    assert [one["condition"] for one in lines] == ["quiet", "neighbour"]
    assert lines[0]["neighbour"] is None
    assert lines[1]["neighbour"].startswith("on the ")
    for one in lines:
        assert 2 <= len(one["ratios"]) <= 8
        assert one["verdicts"]["below"]["limit"] == 0.99
        assert one["verdicts"]["above"]["limit"] == 1.01
    assert proof_aa.page(json.loads(json.dumps(proof_aa.summary(lines))))
    assert list(proof_aa.run(0, 2, done=lines, **quick)) == []
    assert list(proof_aa.run(0, 8, done=lines, go_on=lambda: False, **quick)) == []


def test_slowdowns_are_real_work_and_their_limits_come_from_other_processes(lab, quick):
    lines = list(proof_slowdown.run(0, 1, pilot=2, **quick))
    pilots, gates = lines[:-1], lines[-1:]
    assert [one["what"] for one in lines] == ["pilot"] * 3 + ["gate"]
    assert all(one["products"] >= 1 for one in lines)
    truth = math.exp(np.mean(pilots[0]["ratios"]))
    limits = [gates[0]["verdicts"][name]["limit"] / truth for name in ("3 %", "2 %")]
    assert limits == [pytest.approx(1.03, abs=1e-4), pytest.approx(1.02, abs=1e-4)]
    counted = lab.job(
        "test_proof:matrix_products",
        "proof_mlp",
        weights=str(lab.weights("proof_mlp")),
        artifact=str(lab.folder / "proof_mlp-slowed"),
    )
    assert (counted["baseline"], counted["candidate"]) == (0, gates[0]["products"])
    assert proof_slowdown.page(json.loads(json.dumps(proof_slowdown.summary(lines))))


def test_times_stand_beside_pytest_benchmarks(quick):
    peers = {name: [*words, "--benchmark-max-time=0.02"] for name, words in PEERS.items()}
    lines = list(proof_verdict_time.run(0, 1, peers=peers, **quick))
    (line,) = lines
    limits = {name: limit for name, (limit, _) in proof_verdict_time.LIMITS.items()}
    assert {name: one["limit"] for name, one in line["verdicts"].items()} == limits
    assert line["spent_s"]["far below"] <= line["seconds"]
    for peer in PEERS:
        assert line["peers"][peer]["mean"] > 0
        assert min(line["peers"][peer]["rounds"]) >= 5
    assert proof_verdict_time.page(json.loads(json.dumps(proof_verdict_time.summary(lines))))


def test_a_worker_that_fails_stops_the_piece_with_its_reason(lab):
    with pytest.raises(RuntimeError, match=r"suites\.jobs:speed on proof_mlp: "):
        lab.job("suites.jobs:speed", "proof_mlp", weights="nowhere")


# What is counted


def track(looks, *ratios, limit=1.0, kind=Track):
    made = kind(1, limit, looks)
    for ratio in ratios:
        made.add({"log_ratio": ratio, "blocks": [], "monitors": {"device": None}})
    return made


def test_a_first_run_is_not_confirmed_and_a_track_is():
    slow = [-0.5, -0.501, -0.502, -0.5005]
    confirmed, single = (track(LOOKS, *slow, kind=kind) for kind in (Track, proof_lab.FirstRun))
    assert (confirmed.open, single.open) == (True, False)
    assert proof_lab.verdict(single)["first"] == "FAIL"
    assert proof_lab.verdict(confirmed)["status"] == "INCONCLUSIVE"
    for ratio in slow:
        confirmed.add({"log_ratio": ratio, "blocks": [], "monitors": {"device": None}})
    assert not confirmed.open
    told = proof_lab.verdict(confirmed)
    assert (told["status"], told["first"]) == ("FAIL", "FAIL")


def aa_line(condition, below, first, above):
    verdicts = {
        "below": {"status": below, "first": first, "reason": "not steady: so it is"},
        "above": {"status": above, "first": above, "reason": None},
    }
    return {
        "condition": condition,
        "verdicts": verdicts,
        "ratios": [0.01, -0.01],
        "others": 0.1,
        "seconds": 2.0,
        "neighbour": None,
    }


def test_errors_of_aa_gates_are_counted_by_condition():
    lines = [
        aa_line("quiet", "INCONCLUSIVE", "PASS", "FAIL"),
        aa_line("quiet", "INCONCLUSIVE", "FAIL", "PASS"),
        aa_line("neighbour", "FAIL", "FAIL", "INCONCLUSIVE"),
    ]
    found = proof_aa.summary(lines)

    def counted(condition):
        told = found[condition]
        keys = ("false_fail_first_run", "false_fail_confirmed", "false_pass")
        return [told[key]["count"] for key in keys]

    assert counted("quiet") == [1, 0, 1]
    assert counted("neighbour") == [1, 1, 0]
    assert counted("all") == [2, 1, 1]
    assert [found[name]["unsteady"]["count"] for name in proof_aa.CONDITIONS] == [2, 1]
    assert found["all"]["sigma_pooled"] == pytest.approx(0.01 * math.sqrt(2))


def slow_line(index, spread, status, number=0):
    return {
        "what": "gate",
        "model": "m",
        "products": 3,
        "index": index,
        "set": number,
        "ratios": [-0.06 - spread, -0.06 + spread],
        "seconds": 1.0,
        "neighbour": None,
        "others": 0.01,
        "verdicts": {n: {"status": status, "first": status, "limit": 0.97} for n in ("3 %", "2 %")},
    }


def test_noise_is_judged_by_the_other_gates_of_a_set():
    calm = 0.005
    lines = [slow_line(0, calm, "FAIL"), slow_line(1, calm, "FAIL"), slow_line(2, 0.02, "PASS")]
    found = proof_slowdown.summary(lines)["3 %"]
    # The noisy gate was timed in a calm set, so that it was not found counts there.
    assert (found["claimed"]["found"]["count"], found["claimed"]["found"]["of"]) == (0, 1)
    assert (found["noisier"]["found"]["count"], found["noisier"]["found"]["of"]) == (2, 2)
    assert found["claimed"]["passed"]["count"] == 1


def test_gates_beside_other_programs_are_counted_by_themselves():
    where = "on the last of 2 cores"
    lines = [
        slow_line(0, 0.005, "FAIL") | {"others": 0.01},
        slow_line(1, 0.005, "FAIL") | {"others": None},
        slow_line(2, 0.005, "PASS") | {"others": 1.0},
        slow_line(3, 0.005, "FAIL") | {"others": 0.6, "neighbour": where},
        slow_line(4, 0.005, "PASS") | {"others": 1.0, "neighbour": where},
    ]
    found = proof_slowdown.summary(lines)["3 %"]
    assert (found["claimed"]["found"]["count"], found["claimed"]["found"]["of"]) == (3, 3)
    assert (found["busy"]["found"]["count"], found["busy"]["found"]["of"]) == (0, 2)


def test_a_peer_is_wrong_on_the_wrong_side_of_the_limit():
    peers = {name: {"mean": 1.05, "median": 1.0, "seconds": 3.0} for name in PEERS}
    verdicts = {name: {"status": "FAIL"} for name in proof_verdict_time.LIMITS}
    spent = dict.fromkeys(proof_verdict_time.LIMITS, 1.0)
    line = {"verdicts": verdicts, "spent_s": spent, "peers": peers, "ratios": [0.0, 0.01]}
    ways = proof_verdict_time.summary([line])["ways"]

    def wrong(way):
        return [ways[way][name]["wrong"]["count"] for name in proof_verdict_time.LIMITS]

    assert wrong("optgauge") == [1, 1, 0, 0]
    assert wrong("default, mean") == [0, 0, 1, 0]
    assert wrong("default, median") == [0, 0, 0, 0]

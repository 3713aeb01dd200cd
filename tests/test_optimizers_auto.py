"""auto: what it returns, what it never looks at, what it records, and going on after a stop."""

from __future__ import annotations

import json

import auto_subjects
import pytest
import torch
from auto_subjects import (
    BLOCKS,
    ROWS,
    Cut,
    Deep,
    Directions,
    by_name,
    context,
    cut_where,
    only,
    searched,
)
from optimizers_models import saved, target

import optimizers
from gauge import evidence
from gauge.targets import Target
from optimizers import Refused, artifact, auto_bench, auto_store, own_threads, pipeline
from optimizers.auto_search import Search
from suites.world import HeldOut


@pytest.fixture
def model(monkeypatch):
    return auto_subjects.ready(monkeypatch)


# What comes back.


def test_the_fastest_that_passes_comes_back_and_not_the_first(model, tmp_path):
    optimized, notes, found = searched(model, tmp_path)
    trials = by_name(notes)
    assert next(iter(trials)) == "a_first"
    assert trials["a_first"]["status"] == "passes"
    assert [one["technique"] for one in found] == ["b_fastest"]
    assert len(optimized.module.blocks) == 1
    assert trials["c_spoilt"]["status"] in ("unlike", "drops")
    assert "latency_ms" not in trials["c_spoilt"], "what is wrong is not timed"


def test_the_smallest_comes_back_where_that_is_asked_for_and_nothing_is_timed(model, tmp_path):
    _, notes, found = searched(model, tmp_path, optimise_for="size")
    assert [one["technique"] for one in found] == ["b_fastest"]
    assert all("latency_ms" not in one for one in notes["search"]["trials"])
    assert notes["search"]["baseline"] == {}


def test_the_smallest_is_no_slower_than_the_cells_own_speed_gate_allows(
    model, tmp_path, monkeypatch
):
    only(monkeypatch, "a_first", "b_fastest", "s_labour")
    free, strict = tmp_path / "free", tmp_path / "strict"
    _, _, found = searched(model, free, optimise_for="size")
    assert [one["technique"] for one in found] == ["s_labour"]
    optimized, notes, found = searched(model, strict, optimise_for="size", speed=1.0)
    assert [one["technique"] for one in found] == ["b_fastest"]
    slow = by_name(notes)["s_labour"]
    assert (slow["status"], slow["speed"] < 1) == ("over budget", True)
    assert slow["reason"].endswith("as fast as FP32, 1x wanted")
    told = claims(optimized, notes, found, strict)["within_goal"]
    assert told["found"]
    assert "x as fast as FP32, 1x wanted" in told["text"]
    optimized, notes, found = searched(model, tmp_path, optimise_for="size", speed=1e6)
    told = claims(optimized, notes, found, tmp_path)["within_goal"]
    assert not told["found"]
    assert told["numbers"]["over"]["speed"] == pytest.approx(notes["goal"]["missed_by"]["speed"])


def test_throughput_is_of_the_batch_size_that_gives_most_of_it(model, tmp_path, monkeypatch):
    only(monkeypatch, "a_first", "b_fastest", "i_crammed", "j_fixed", "k_compiled")
    optimized, notes, found = searched(model, tmp_path, optimise_for="throughput")
    assert [one["technique"] for one in found] == ["b_fastest"]
    trials = by_name(notes)
    assert trials["b_fastest"]["sample_ms"] < trials["a_first"]["sample_ms"]
    assert trials["b_fastest"]["batch"] == notes["search"]["batch"] == 8
    assert notes["search"]["baseline"]["sample_ms"]["batch"] in (4, 8)
    assert trials["i_crammed"]["batch"] == 4, "slower in larger ones"
    assert trials["j_fixed"]["batch"] == 2, "it accepts no other"
    assert trials["k_compiled"]["batch"] == 8, "each size would be compiled anew"
    told = claims(optimized, notes, found, tmp_path)["within_goal"]
    rate = 1e3 / trials["b_fastest"]["sample_ms"]
    assert f"{rate:,.0f} samples a second in batches of 8" in told["text"]


def test_an_artifact_of_a_batch_that_was_not_asked_for_is_refused(model, tmp_path, monkeypatch):
    only(monkeypatch, "b_fastest", "j_fixed")
    trials = by_name(searched(model, tmp_path)[1])
    assert trials["j_fixed"]["status"] == "refused"
    assert trials["j_fixed"]["reason"] == "it accepts batches of 2 only, asked for were 1"


# Threads.


def test_fewer_threads_are_the_answers_where_they_cost_less(model, tmp_path, monkeypatch):
    only(monkeypatch, "a_first", "l_threaded")
    monkeypatch.setattr(Target, "threads", 4)
    optimized, notes, found = searched(model, tmp_path)
    assert [(one["technique"], one["params"]) for one in found] == [
        ("l_threaded", {"threads": "2"})
    ]
    trial = notes["search"]["trials"][notes["search"]["chosen"]]
    assert trial["stages"] == [["l_threaded", {"threads": "all"}]], "the list is as it was"
    assert (trial["pipeline"], trial["threads"]) == ("l_threaded:2", 2)
    assert optimized.threads == 2
    told = claims(optimized, notes, found, tmp_path)
    assert all(one["found"] for one in told.values()), told
    found[0]["params"] = {"threads": "all"}
    (tmp_path / "b").mkdir()
    assert not claims(optimized, notes, found, tmp_path / "b")["searched"]["found"]
    assert "threads" not in by_name(notes)["a_first"], "torch's are both arms'"


def test_with_one_thread_no_other_number_is_opened(model, tmp_path, monkeypatch):
    only(monkeypatch, "l_threaded")
    with monkeypatch.context() as patch:
        patch.setattr(own_threads, "limited", lambda target, threads: _none(threads, target))
        _, _, found = searched(model, tmp_path)
    assert found[0]["params"] == {"threads": "all"}


def _none(threads, target):
    assert threads is None
    return target


def test_each_trial_that_ends_early_says_why(model, tmp_path):
    trials = by_name(searched(model, tmp_path)[1])
    told = {name: (trials[name]["status"], trials[name]["reason"]) for name in trials}
    assert told["d_absent"] == ("refused", "a package is not installed")
    assert told["e_broken"] == ("broken", "RuntimeError: a kernel is missing")
    assert told["g_untrue"][0] == "claims not found"
    assert "integer_kernels" in told["g_untrue"][1]


# What it never sees.


def test_the_evaluation_split_is_asked_for_by_no_part_of_a_search(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Directions, "guarded", True)
    notes = searched(model, tmp_path, allow="structure")[1]
    told = by_name(notes)["f_peeking"]
    assert told["status"] == "broken"
    assert HeldOut.__name__ in told["reason"] or "evaluation" in told["reason"]


def test_a_search_that_tunes_on_the_evaluation_split_is_stopped(model, tmp_path, monkeypatch):
    def cheating(self, context, *_):
        context.model.split("evaluation")

    monkeypatch.setattr("optimizers.auto_validation.Validation.__init__", cheating)
    with pytest.raises(HeldOut, match="evaluation split"):
        searched(model, tmp_path)


def test_trials_train_without_the_validation_part_and_what_was_found_with_all(
    model, tmp_path, monkeypatch
):
    only(monkeypatch, "h_dropping")
    _, notes, found = searched(model, tmp_path, allow="structure")
    search = notes["search"]
    assert search["validation"] == "a fifth of the training split, and the calibration split"
    assert [one["technique"] for one in found] == ["h_dropping"]
    assert found[0]["notes"]["seen"] == ROWS
    store = auto_store.Store(tmp_path / "kept")
    tried = store.load(search["chosen"], target()).stages
    assert tried[0]["notes"]["seen"] == round(0.8 * ROWS)


def test_without_training_data_the_calibration_split_judges_and_it_is_said(
    model, tmp_path, monkeypatch
):
    import zoo

    split = Directions.split

    def without(self, name):
        if name == "train":
            raise zoo.Unavailable("it is pretrained")
        return split(self, name)

    monkeypatch.setattr(Directions, "split", without)
    notes = searched(model, tmp_path, trials="2")[1]
    assert notes["search"]["validation"].startswith("the calibration split: test_auto has no train")
    assert notes["search"]["samples"] == ROWS


# Structure.


def test_bisection_finds_how_much_the_accuracy_bears(model, tmp_path):
    trials = by_name(searched(model, tmp_path, allow="structure")[1])
    tried = {name: one["status"] for name, one in trials.items() if name.startswith("h_dr")}
    assert tried["h_dropping:0.7"] == "passes"
    assert tried["h_dropping:0.9"] != "passes"
    assert "h_dropping:0.25" not in tried
    assert "h_dropping:0.95" not in tried
    assert "h_dropping:0.7+b_fastest" in trials
    assert "h_dropping:0.9+b_fastest" not in trials
    assert trials["h_dropping:0.7"]["class"] == "B"
    assert all(one["class"] == "A" for one in by_name(searched(model, tmp_path / "a")[1]).values())


def test_a_stage_that_is_far_slower_by_itself_is_skipped_after_others(model, tmp_path):
    trials = by_name(searched(model, tmp_path, allow="structure")[1])
    told = trials["h_dropping:0.7+a_first"]
    assert told["status"] == "skipped"
    assert "a_first by itself costs" in told["reason"]
    assert told["reason"].endswith("times what b_fastest does")
    told = trials["h_dropping:0.7+e_broken"]
    assert told["reason"] == "e_broken by itself, broken: RuntimeError: a kernel is missing"


# The same list again, and going on.


def test_a_seed_gives_the_same_list_of_trials(model, tmp_path):
    first = searched(model, tmp_path / "a", allow="structure")[1]["search"]["trials"]
    torch.manual_seed(99)
    again = searched(model, tmp_path / "b", allow="structure")[1]["search"]["trials"]
    assert [one["stages"] for one in first] == [one["stages"] for one in again]
    # Which of them are skipped is the clock's.
    kept = ("drop", "alike", "bytes", "score")
    for one, other in zip(first, again, strict=True):
        if "skipped" not in (one["status"], other["status"]):
            assert [one.get(k) for k in kept] == [other.get(k) for k in kept]


def test_the_clock_changes_nothing_in_the_list(model, tmp_path, monkeypatch):
    told = []
    for sign in (1, -1):

        def measured(self, ways, sign=sign):
            ((way, artifact),) = ways.items()
            blocks = len(artifact.module.blocks)
            cost = (1 + blocks if sign == 1 else 1 + BLOCKS - blocks) ** 2
            return way, {"latency_ms": float(cost), "latency_ms_error": 0.001}

        monkeypatch.setattr(auto_bench.Bench, "measure", measured)
        notes = searched(model, tmp_path / str(sign), allow="structure")[1]
        told.append(notes["search"])
    assert [one["stages"] for one in told[0]["trials"]] == [
        one["stages"] for one in told[1]["trials"]
    ]
    assert told[0]["pipeline"] != told[1]["pipeline"]
    statuses = [[one["status"] for one in search["trials"]] for search in told]
    assert statuses[0] != statuses[1], "it changes what is skipped"


def test_a_stopped_search_goes_on_after_its_last_trial(model, tmp_path, monkeypatch):
    whole = searched(model, tmp_path / "whole", allow="structure")[1]["search"]["trials"]
    calls, judge = [], Search._judge

    def cut(self, stages, record):
        if len(calls) == 3:
            raise Cut
        calls.append(record["pipeline"])
        judge(self, stages, record)

    monkeypatch.setattr(Search, "_judge", cut)
    with pytest.raises(Cut):
        searched(model, tmp_path, allow="structure")
    costs = auto_store.Store(tmp_path / "kept").costs

    def counted(self, stages, record):
        calls.append(record["pipeline"])
        judge(self, stages, record)

    monkeypatch.setattr(Search, "_judge", counted)
    notes = searched(model, tmp_path, allow="structure")[1]
    assert [one["stages"] for one in notes["search"]["trials"]] == [one["stages"] for one in whole]
    assert len(calls) == len(set(calls)), "nothing is tried twice"
    assert notes["search"]["baseline"] == costs, "measured once"
    assert notes["search"]["pipeline"].endswith("b_fastest")


def test_a_trial_that_ends_its_process_is_not_begun_for_ever(model, tmp_path, monkeypatch):
    cut_where(monkeypatch, lambda record: record["pipeline"] == "b_fastest")
    for _ in range(auto_store.TRIES):
        with pytest.raises(Cut):
            searched(model, tmp_path)
    notes = searched(model, tmp_path)[1]
    told = by_name(notes)["b_fastest"]
    assert told["status"] == "broken"
    assert f"ended {auto_store.TRIES} times" in told["reason"]
    assert notes["search"]["pipeline"] == "a_first"


# Nothing is good enough.


def test_where_nothing_passes_the_closest_comes_back_and_its_claim_fails(
    model, tmp_path, monkeypatch
):
    for name in ("a_first", "b_fastest", "g_untrue"):
        monkeypatch.setattr(type(optimizers.get(name)), "wrong", 1)
    monkeypatch.setattr(type(optimizers.get("a_first")), "wrong", 2)
    optimized, notes, found = searched(model, tmp_path, fidelity=None)
    assert [one["technique"] for one in found] == ["b_fastest"]
    missed = notes["goal"]["missed_by"]["drop"]
    assert 0.1 < missed < 0.4
    told = claims(optimized, notes, found, tmp_path)
    assert told["searched"]["found"]
    assert not told["within_goal"]["found"]
    assert f"over it by {100 * missed:.2f}" in told["within_goal"]["text"]
    assert "b_fastest is the closest of the search" in told["within_goal"]["text"]


def test_a_size_that_nothing_keeps_gives_the_smallest_and_says_by_how_much(model, tmp_path):
    optimized, notes, found = searched(model, tmp_path, budget={"size_mb": 1e-3}, allow="structure")
    assert [one["technique"] for one in found] == ["b_fastest"]
    told = claims(optimized, notes, found, tmp_path)["within_goal"]
    assert not told["found"]
    assert told["numbers"]["over"]["size"] == pytest.approx(notes["goal"]["missed_by"]["size"])
    assert by_name(notes)["a_first"]["status"] == "over budget"


def test_a_latency_that_nothing_keeps_is_told(model, tmp_path):
    optimized, notes, found = searched(model, tmp_path, budget={"latency_ms": 1e-6})
    told = claims(optimized, notes, found, tmp_path)["within_goal"]
    assert not told["found"]
    assert "latency" in told["numbers"]["over"]


def test_where_nothing_has_a_score_it_is_refused_with_the_reasons(model, tmp_path, monkeypatch):
    only(monkeypatch, "d_absent", "e_broken")
    with pytest.raises(Refused, match="d_absent: a package is not installed; e_broken: Runtime"):
        searched(model, tmp_path)


# The artifact and its evidence.


def claims(optimized, notes, found, folder):
    directory = saved(optimized, folder)
    stages = [{"technique": "auto", "params": {}, "notes": notes}, *found]
    subject = evidence.Subject(
        candidate=artifact.load(directory, target()),
        baseline=Deep().eval(),
        batch=Directions().example(4),
        directory=directory,
        target=target(),
        stages=stages,
    )
    names = pipeline.claims([(one["technique"], one.get("params", {})) for one in stages], target())
    return evidence.count(names, subject)


def test_the_artifact_is_what_the_pipelines_own_command_makes(model, tmp_path):
    optimized, notes, found = searched(model, tmp_path)
    told = claims(optimized, notes, found, tmp_path)
    assert list(told) == ["searched", "within_goal", "fewer_parameters"]
    assert all(one["found"] for one in told.values()), told
    stages = [(one["technique"], one["params"]) for one in found]
    (tmp_path / "b").mkdir()
    plain = pipeline.apply(stages, Deep().eval(), context(model, tmp_path / "b"))[0]
    other = saved(plain, tmp_path / "b")
    assert artifact.sizes(other) == artifact.sizes(tmp_path / "artifact")
    for file in other.iterdir():
        assert file.read_bytes() == (tmp_path / "artifact" / file.name).read_bytes(), file.name


def first(notes, found):
    """The first that passes instead of the best."""
    notes["search"]["chosen"] = 0
    found[0] = {"technique": "a_first", "params": {}, "notes": {}}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (first, "b_fastest is good enough and better than the chosen one"),
        (lambda n, f: n["search"].update(chosen=99), "trial 99 was chosen, of"),
        (lambda n, f: n["search"].update(chosen=2), "not the chosen c_spoilt"),
        (lambda n, f: n["search"]["trials"].append(n["search"]["trials"][0]), "1 trials repeat"),
    ],
)
def test_a_record_that_is_not_what_was_found_is_told(fault, says, model, tmp_path):
    optimized, notes, found = searched(model, tmp_path)
    notes = json.loads(json.dumps(notes))
    fault(notes, found)
    told = claims(optimized, notes, found, tmp_path)["searched"]
    assert not told["found"]
    assert says in told["text"]


def test_what_was_tried_is_no_part_of_the_artifact(model, tmp_path):
    optimized = searched(model, tmp_path)[0]
    text = (saved(optimized, tmp_path) / "artifact.json").read_text()
    assert [one["technique"] for one in json.loads(text)["stages"]] == ["b_fastest"]

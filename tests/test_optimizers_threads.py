"""Threads of an artifact's own: what is opened, kept, refused, and what gauge finds of it."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
import torch
from optimizers_models import apply, known, saved, target

from gauge import evidence
from gauge.targets import Target
from optimizers import Context, Refused, artifact, own_threads
from optimizers.artifact import ArtifactError
from optimizers.openvino_model import missing

MODEL = "test_linear"
OPENVINOS = min(2, len(os.sched_getaffinity(0)))
"""It takes no more threads than there are CPUs."""

RUNTIMES = [
    "onnxruntime",
    "onnxruntime_dynamic_int8",
    "onnxruntime_int8:channel:none",
    pytest.param("openvino", marks=pytest.mark.skipif(bool(missing(target())), reason="absent")),
    pytest.param(
        "openvino_int8:false",
        marks=pytest.mark.skipif(bool(missing(target(), "nncf")), reason="absent"),
    ),
]


@pytest.fixture(autouse=True)
def two(monkeypatch):
    monkeypatch.setattr(Target, "threads", 2)


def running(optimized) -> int:
    """Threads that the runtime itself tells of."""
    session = getattr(optimized, "session", None)
    if session is not None:
        return session.get_session_options().intra_op_num_threads
    return optimized.compiled_model.get_property("INFERENCE_NUM_THREADS")


def made(technique, monkeypatch, folder):
    """(model, FP32, artifact reopened, records of its stages)."""
    model = known(MODEL, monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, stages = apply(technique, model, folder, module=module)
    saved(optimized, folder)
    return model, module, artifact.load(folder / "artifact", target()), stages


def finding(technique, monkeypatch, folder, **other):
    model, module, reopened, stages = made(technique, monkeypatch, folder)
    reopened = other.pop("candidate", lambda one: one)(reopened)
    stages = other.get("stages", stages)
    subject = evidence.Subject(
        reopened, module, model.example(3), folder / "artifact", target(), stages=stages
    )
    return evidence.count(["runtime"], subject)["runtime"]


@pytest.mark.parametrize("technique", RUNTIMES)
def test_an_artifact_keeps_the_threads_that_its_name_asks_for(technique, monkeypatch, tmp_path):
    *_, reopened, stages = made(f"{technique}:1", monkeypatch, tmp_path)
    assert (reopened.threads, running(reopened)) == (1, 1)
    assert stages[-1]["params"]["threads"] == "1"
    assert json.loads((tmp_path / "artifact" / "artifact.json").read_text())["threads"] == 1


@pytest.mark.parametrize("technique", [RUNTIMES[0], RUNTIMES[3]])
def test_without_a_number_they_are_the_runs(technique, monkeypatch, tmp_path):
    *_, reopened, _ = made(technique, monkeypatch, tmp_path)
    assert reopened.threads is None
    there = 2 if technique == "onnxruntime" else OPENVINOS
    assert running(reopened) == there
    told = finding(technique, monkeypatch, tmp_path / "again")
    assert told["found"]
    assert told["text"].endswith(f"; threads: {there}")


def test_never_more_run_than_the_process_has(monkeypatch, tmp_path):
    made("onnxruntime:2", monkeypatch, tmp_path)
    monkeypatch.setattr(Target, "threads", 1)
    assert running(artifact.load(tmp_path / "artifact", target())) == 1


def context(word, **changes):
    place = SimpleNamespace(**{"device": "cpu", "threads": 2, "name": "t", **changes})
    return Context(None, place, {"threads": word}, seed=0, workdir=None)


@pytest.mark.parametrize("word", ["0", "-1", "few", "1.5", ""])
def test_what_is_no_number_is_told(word):
    with pytest.raises(ValueError, match="all or a whole number from 1 up, found"):
        own_threads.asked(context(word))


def test_more_than_the_runs_and_another_device_are_refused():
    with pytest.raises(Refused, match="4 threads are asked for, and the run has --threads 2"):
        own_threads.asked(context("4"))
    with pytest.raises(Refused, match="the CPU's, and t computes on cuda"):
        own_threads.asked(context("1", device="cuda"))
    assert own_threads.asked(context("2")) == 2
    assert own_threads.asked(context("all", device="cuda")) is None


@pytest.mark.parametrize("odd", [0, -1, "2", 1.0, True])
def test_a_description_with_no_such_number_opens_nothing(odd):
    with pytest.raises(ArtifactError, match="a whole number from 1 up"):
        own_threads.described({"threads": odd})
    assert own_threads.described({}) is None


@pytest.mark.parametrize("technique", [RUNTIMES[0], RUNTIMES[3]])
def test_threads_that_the_name_does_not_say_are_found_out(technique, monkeypatch, tmp_path):
    if technique == "openvino" and OPENVINOS == 1:
        pytest.skip("OpenVINO takes no second thread on one CPU")
    said = [{"technique": technique, "params": {"threads": "1"}}]
    told = finding(technique, monkeypatch, tmp_path, stages=said)
    assert not told["found"]
    assert told["text"].endswith("threads: 2, and the name asks for 1")


def test_more_threads_than_the_runs_are_found_out(monkeypatch, tmp_path):
    from optimizers.onnx_model import open_session

    def greedy(one):
        one.session = open_session(one.path, one.provider, 3)
        return one

    told = finding("onnxruntime", monkeypatch, tmp_path, candidate=greedy)
    assert not told["found"]
    assert told["text"].endswith("threads: 3, and the run has 2")


def test_halves_are_tried_where_the_runtime_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(Target, "threads", 12)
    place = target()
    first = ("low_rank", {"ratio": 0.5})
    assert own_threads.choices([first, ("onnxruntime", {"threads": "all"})], place) == [
        12, 6, 3, 1,
    ]  # fmt: skip
    assert own_threads.choices([("onnxruntime", {"threads": "4"})], place) == [12]
    assert own_threads.choices([first], place) == [12]
    limited = own_threads.limited(place, 3)
    assert (limited.threads, place.threads, limited.name) == (3, 12, "cpu")
    monkeypatch.setattr(Target, "threads", 1)
    assert own_threads.choices([("onnxruntime", {"threads": "all"})], target()) == [1]

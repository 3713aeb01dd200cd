"""Candidates that really answer worse, and damage beside the score, through the whole suite."""

from __future__ import annotations

import re

import proof_accuracy_zoo
import pytest
from running import PLUGINS, Ran, suites

PLUGIN = f"--plugin={PLUGINS / 'wrong_answers.py'}"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("accuracy")
    techniques = "none depends_on_batch subnormal loses_a_class".split()
    words = [word for name in techniques for word in ("--technique", name)]
    places = (folder / "out", folder / "cache")
    return suites(*places, PLUGIN, "--model=digits_mlp", "-v", "-k", "accuracy", *words)


def evidence(ran: Ran, technique: str) -> dict:
    return ran.verdicts(f"digits_mlp-{technique}-cpu")["accuracy"]["evidence"]


def test_every_injected_drop_gets_the_verdict_that_its_counts_deserve(monkeypatch):
    monkeypatch.setattr(proof_accuracy_zoo, "SHARES_WRONG", (0.0, 0.01, 0.04))
    found = proof_accuracy_zoo.end_to_end(1, 1)
    assert found["kept"], found["rows"]
    worse = {row["share"]: row for row in found["rows"]}
    assert (worse[0.0]["status"], worse[0.0]["drop"]) == ("PASS", 0)
    assert worse[0.04]["status"] == "FAIL"
    assert 0 < worse[0.01]["drop"] < worse[0.04]["drop"]


def test_the_terminal_tells_what_the_samples_decide_beside_each_verdict(ran):
    assert re.search(r"PASS 0.00\s?pt.*, decides 0.30\s?pt", ran.output)
    assert re.search(r"FAIL .*pt.*, decides ", ran.output)


def test_answers_that_depend_on_the_batch_are_counted(ran):
    plain = evidence(ran, "none")["batch_invariance"]
    assert (plain["agrees"], plain["changed"], plain["samples"]) == (True, 0, 16)
    odd = evidence(ran, "depends_on_batch")["batch_invariance"]
    assert odd["agrees"] is False
    assert odd["difference"] > 0.01


def test_subnormal_weights_are_counted(ran):
    assert evidence(ran, "none")["subnormal_weights"]["count"] == 0
    assert evidence(ran, "subnormal")["subnormal_weights"]["count"] == 64 * 128 // 10


def test_the_class_that_was_lost_is_named(ran):
    worst = evidence(ran, "loses_a_class")["worst_class"]
    assert worst["label"] == 7
    assert worst["drop"] > 0.9
    assert worst["low"] > 0.5


def test_the_report_tells_the_damage(ran):
    page = (ran.report / "index.html").read_text()
    assert "ANSWERS DEPEND ON THE BATCH" in page
    assert "subnormal weights: 819 of" in page
    assert "worst class: 7" in page

"""What a release requires, and waivers that must go, as the records and the pages tell it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_fixtures import cell, run_record, verdict

from reports import render, required, summary, waivers
from reports.records import Records, encode
from reports.summarize import HOLD, SHIP, summarize

ANSWERS = ["PASS", "FAIL", "INCONCLUSIVE", "WAIVED"]


def entry(*cells, gates=(("accuracy", None), ("speed", 1)), no_cell=(), source="policy.toml:12"):
    return {
        "source": source,
        "reason": "r",
        "cells": [dict(zip(("model", "technique", "target"), one, strict=True)) for one in cells],
        "gates": [{"gate": gate, "batch": batch} for gate, batch in gates],
        "no_cell": list(no_cell),
    }


def texts(run, verdicts):
    return [one.text for one in required.unmet(run, verdicts)]


VIT = ("vit", "openvino", "cpu")


def test_what_has_an_answer_is_met_whatever_the_answer():
    run = run_record(required=[entry(VIT)])
    for status in ANSWERS:
        verdicts = cell("vit", "openvino")
        for one in verdicts:
            one["status"] = status
        assert texts(run, verdicts) == []


@pytest.mark.parametrize("status", ["REFUSED", "NO_EXPECTATION", "NO_BASELINE", "ERROR"])
def test_a_gate_without_an_answer_is_named_with_its_line_and_cause(status):
    verdicts = cell("vit", "openvino")
    for one in verdicts:
        if one["gate"] == "speed":
            one |= {"status": status, "reason": "because\nof this"}
    assert texts(run_record(required=[entry(VIT)]), verdicts) == [
        f"policy.toml:12 requires vit-openvino-cpu (speed b1): {status}: because"
    ]


def test_a_cell_that_the_run_left_out_is_told_once_with_the_option_that_did_it():
    cells = [VIT, *[(f"m{number}", "none", "cpu") for number in range(6)]]
    run = run_record(required=[entry(*cells)], options={"models": ["vit"], "techniques": []})
    (found,) = required.unmet(run, cell("vit", "openvino"))
    assert found.gates == 12
    assert found.text == (
        "policy.toml:12 requires m0-none-cpu, m1-none-cpu, m2-none-cpu, m3-none-cpu and 2 more: "
        "not in this run (--model left it out)"
    )
    batch = entry(VIT, gates=[("speed", 64)])
    options = {"gated": [1], "reported": [32]}
    (found,) = required.unmet(
        run_record(required=[batch], options=options), cell("vit", "openvino")
    )
    assert found.text.endswith("not in this run (--batch left it out)")


def test_names_that_cover_no_cell_are_told():
    run = run_record(required=[entry(no_cell=["vitt × * × cpu"])])
    assert texts(run, cell("vit", "openvino")) == [
        "policy.toml:12 requires vitt × * × cpu: the standard matrix has no such cell"
    ]


def test_a_shard_is_not_held_to_what_other_shards_measure():
    refused = cell("vit", "openvino")
    refused[-1] |= {"gate": "size", "status": "REFUSED", "reason": "r", "batch": None}
    wanted = entry(VIT, ("m", "none", "cpu"), gates=[("size", None)])
    verdicts = [one for one in refused if one["gate"] != "size"] + refused[-1:]
    run = run_record(required=[wanted])
    assert len(required.unmet(run, verdicts)) == 2
    (found,) = required.unmet(run | {"shard": {"number": 1, "of": 2}}, verdicts)
    assert found.status == "REFUSED"


statuses = st.sampled_from([*ANSWERS, *required.UNANSWERED, None])
questions = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["size", "accuracy"])), statuses, min_size=1
)


@given(questions)
def test_every_required_gate_is_answered_or_told_exactly_once(asked):
    models = sorted({model for model, _ in asked})
    gates = sorted({gate for _, gate in asked})
    wanted = entry(*((model, "t", "cpu") for model in models), gates=[(one, None) for one in gates])
    verdicts = [
        verdict(model, "t", gate, status=status, value=None, reason="r")
        for (model, gate), status in asked.items()
        if status is not None
    ]
    found = required.unmet(run_record(required=[wanted]), verdicts)
    open_ = [
        (model, gate)
        for model in models
        for gate in gates
        if asked.get((model, gate)) not in ANSWERS
    ]
    assert sum(one.gates for one in found) == len(open_)


WAIVER = {
    "source": "policy.toml:30",
    "gate": "size",
    "issue": "#7",
    "owner": "release",
    "expires": "2027-01-31",
    "expired": False,
    "covers": 2,
    "anywhere": True,
}


def held(*unneeded):
    found = []
    for number, one in enumerate(unneeded):
        record = verdict(f"m{number}", "t", "size", status="PASS" if one else "WAIVED", reason="r")
        record["evidence"]["waiver"] = {
            "source": WAIVER["source"],
            **({"unneeded": True} if one else {}),
        }
        found.append(record)
    return found


@pytest.mark.parametrize(
    ("changes", "verdicts", "said"),
    [
        ({}, held(True, True), "is no longer needed (2 gates that it covers pass): remove it"),
        ({}, held(True), None),  # another of its cells was not asked
        ({}, held(True, False), None),
        ({}, [], None),
        ({"covers": 0}, [], None),  # it is for another target or machine
        ({"anywhere": False}, [], "covers no cell that there is: correct it or remove it"),
        ({"expired": True}, held(False, False), "expired on 2027-01-31 (#7, release): renew it"),
        ({"expired": True}, held(True, True), "(#7, release) and is no longer needed"),
    ],
)
def test_which_waivers_must_go(changes, verdicts, said):
    found = waivers.stale(run_record(waivers=[WAIVER | changes]), verdicts)
    if said is None:
        assert not found
    else:
        assert found[0].line.startswith("policy.toml:30: the size waiver ")
        assert said in found[0].line


@pytest.mark.parametrize("lack", ["required", "waivers"])
def test_a_release_is_held_for_it_and_a_nightly_run_warns(lack):
    parts = {
        "required": {"required": [entry(VIT, ("gone", "none", "cpu"))]},
        "waivers": {"waivers": [WAIVER | {"anywhere": False}]},
    }[lack]
    line = {"required": "gone-none-cpu", "waivers": "covers no cell"}[lack]
    sentence = {
        "required": "2 required gates without an answer (policy.toml:12)",
        "waivers": "1 waiver to renew or remove (policy.toml:30)",
    }[lack]
    verdicts = cell("vit", "openvino")
    for gate, verdict_, title in (
        ("nightly", SHIP, "A release would fail for this"),
        ("release", HOLD, "This fails the release"),
    ):
        read = Records(run_record(gate=gate, selected_cells=1, **parts), verdicts)
        encode(read.run)
        found = summarize(read)
        assert found.verdict == verdict_
        assert (sentence in found.sentence) == (gate == "release")
        for text in (summary.markdown(read), render.page(read)):
            assert title in text
            assert line in text
            assert sentence in text


def test_a_release_without_requirements_is_warned():
    read = Records(run_record(gate="release", required=[]), cell("vit", "openvino"))
    assert "the policy requires nothing" in summary.markdown(read)
    assert "requires nothing" not in summary.markdown(
        Records(run_record(required=[]), cell("vit", "openvino"))
    )

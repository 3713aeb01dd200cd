"""auto: FP32 without the samples that judge, for trials that do not keep FP32's weights."""

from __future__ import annotations

import auto_subjects
import pytest
from auto_subjects import ROWS, Cut, Learning, by_name, cut_where, only, searched
from optimizers_models import known

from optimizers import artifact
from suites import judges


@pytest.fixture
def learning(monkeypatch):
    """(a model that knows its training split by heart, its FP32)."""
    auto_subjects.ready(monkeypatch)
    only(monkeypatch, "b_fastest", "m_forgetting")
    found = known(Learning(), monkeypatch)
    monkeypatch.setattr(type(found), "trainings", [])
    fp32 = found.build().eval()
    found.train(fp32, 0)
    return found, fp32


def test_what_fp32_knows_by_heart_is_no_loss_of_a_trial(learning, tmp_path):
    model, fp32 = learning
    notes = searched(model, tmp_path, fp32=fp32, allow="structure", fidelity=None)[1]
    told = by_name(notes)["m_forgetting"]
    assert (told["status"], told["drop"]) == ("passes", 0.0)
    rest = round(0.8 * ROWS)
    assert model.trainings == [ROWS, rest], "FP32, and FP32 without what judges"
    reference = notes["search"]["reference"]
    assert reference["trained_on"] == rest
    assert reference["score"] == told["score"] < 0.8, "it has seen none of the samples"
    assert reference["score"] + 0.02 < reference["fp32"], "and FP32 a fifth of training"


def test_claims_are_looked_for_beside_the_fp32_that_a_trial_was_made_from(
    learning, tmp_path, monkeypatch
):
    """A student's teacher is that one, and evidence holds the two together by their weights."""
    model, fp32 = learning
    beside = {}
    audit = judges.audit

    def watched(world, candidate, directory, claims, baseline, start):
        seen = int(baseline.seen.isfinite().all(1).sum())
        beside.setdefault(type(candidate.module).__name__, seen)
        return audit(world, candidate, directory, claims, baseline, start)

    monkeypatch.setattr(judges, "audit", watched)
    searched(model, tmp_path, fp32=fp32, allow="structure", fidelity=None)
    assert beside == {"Deep": ROWS, "Learned": round(0.8 * ROWS)}


def test_a_search_of_numerics_trains_no_second_fp32(learning, tmp_path):
    model, fp32 = learning
    notes = searched(model, tmp_path, fp32=fp32, fidelity=None)[1]
    assert model.trainings == [ROWS]
    assert notes["search"]["reference"] is None


def test_a_search_that_goes_on_trains_the_second_fp32_once(learning, tmp_path, monkeypatch):
    model, fp32 = learning
    how = {"fp32": fp32, "allow": "structure", "fidelity": None}
    with monkeypatch.context() as patch:
        cut_where(patch, lambda record: record["class"] == "B")
        with pytest.raises(Cut):
            searched(model, tmp_path, **how)
    first = searched(model, tmp_path, **how)[1]["search"]
    assert len(model.trainings) == 2
    again = searched(model, tmp_path, **how)[1]["search"]
    assert again["reference"] == first["reference"] is not None, "told of a search that has ended"
    (path,) = (tmp_path / "kept" / "reference").iterdir()
    path.write_bytes(b"no weights")
    with pytest.raises(artifact.ArtifactError, match="reference"):
        searched(model, tmp_path, **how)

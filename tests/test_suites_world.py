"""What a worker is given, and what it is kept from."""

from __future__ import annotations

import pytest
import torch

import zoo
from gauge import targets
from optimizers import artifact
from optimizers.eager import EagerModule
from suites import world as shared
from suites.world import World

MODEL = zoo.get("digits_mlp")


def world(folder, **arguments):
    given = {"threads": torch.get_num_threads(), "seed": 0, "plugins": [], "target": "cpu"}
    return World({**given, "model": "digits_mlp", "weights": str(folder), **arguments})


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    kept = EagerModule(MODEL.build().eval(), MODEL.name)
    kept.place(targets.get("cpu"))
    folder = tmp_path / shared.ARTIFACT
    folder.mkdir()
    artifact.save(kept, folder)
    return tmp_path, shared.weights_hash(kept.module)


def test_a_baseline_of_other_weights_than_were_prepared_is_refused(weights):
    folder, sha256 = weights
    world(folder, sha256=sha256).fp32()
    with pytest.raises(RuntimeError, match="not the one that was prepared"):
        world(folder, sha256="0" * 64).fp32()


def test_a_technique_gets_no_evaluation_samples_but_a_few_examples():
    with shared.held_out(MODEL):
        assert len(MODEL.example(shared.MOST_EXAMPLES)[0][0]) == shared.MOST_EXAMPLES
        assert len(MODEL.split("calibration")) == 150
        with pytest.raises(shared.HeldOut, match="asked for the evaluation split"):
            MODEL.split("evaluation")
        with pytest.raises(shared.HeldOut, match="an example of 33 rows"):
            MODEL.example(33)
    assert len(MODEL.split("evaluation")) == 1000
    assert "split" not in vars(MODEL)


@pytest.mark.parametrize("batch", [1, 3, 32, 40])
def test_other_inputs_are_of_the_same_shape_and_none_is_the_usual_one(tmp_path, batch):
    one = world(tmp_path)
    usual = one.example(batch)[0][0]
    others = [args[0] for args, _ in one.others(batch)]
    assert len(others) >= 20
    assert {tuple(other.shape) for other in others} == {tuple(usual.shape)}
    assert not any(torch.equal(usual, other) for other in others)
    assert len({other.numpy().tobytes() for other in others}) == len(others)

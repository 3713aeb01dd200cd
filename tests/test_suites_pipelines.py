"""Pipelines: the stages before the last are a cell of their own, shared, and told by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Ran, suites

from suites import catalog, matrix

MODEL = "digits_mlp"
FIRST = "prune_unstructured:0.5"
PLUGIN = '''
import copy
import torch
import optimizers
from optimizers.eager import EagerModule

@optimizers.register
class Spoil(optimizers.Technique):
    """Loses accuracy, and parameters are as before: only what a stage does is asked here."""
    name = "spoil"
    family = "test"
    claims = ("runs",)
    standard = ()
    def apply(self, module, context):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(-1)
        return EagerModule(module)
'''


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Ran:
    folder = tmp_path_factory.mktemp("run")
    (folder / "spoil.py").write_text(PLUGIN)
    asked = [f"{FIRST}+dynamic_int8", f"{FIRST}+onnxruntime", f"{FIRST}+spoil+onnxruntime"]
    words = [f"--technique={one}" for one in asked]
    return suites(
        folder / "out",
        cache,
        f"--plugin={folder / 'spoil.py'}",
        f"--model={MODEL}",
        *words,
        "--effort=quick",
        "-k",
        "not memory",
    )


def test_pipelines_that_begin_alike_share_what_they_begin_with(ran):
    applied = [line for line in ran.output.splitlines() if f"{MODEL}-{FIRST}-cpu: apply" in line]
    assert len(applied) == 1, ran.output


def test_a_failure_names_the_stage_that_costs_most(ran):
    verdict = ran.verdicts(f"{MODEL}-{FIRST}+spoil+onnxruntime-cpu")["accuracy"]
    assert verdict["status"] == "FAIL"
    assert "stage spoil loses most" in verdict["reason"]
    told = verdict["evidence"]["ablation"]
    assert [one["technique"] for one in told["stages"]] == [FIRST, "spoil", "onnxruntime"]
    start, values = told["start"], [one["value"] for one in told["stages"]]
    assert start - values[0] < 0.1 < values[0] - values[1]
    assert values[2] == pytest.approx(values[1], abs=0.01)


def test_size_and_speed_are_told_after_every_stage(ran):
    found = ran.verdicts(f"{MODEL}-{FIRST}+dynamic_int8-cpu")
    sizes = [one["value"] for one in found["size"]["evidence"]["ablation"]["stages"]]
    assert sizes[1] == found["size"]["candidate"]["bytes"] < sizes[0]
    speeds = [one["value"] for one in found["speed-b1"]["evidence"]["ablation"]["stages"]]
    assert all(value > 0 for value in speeds)
    assert speeds[1] == pytest.approx(found["speed-b1"]["value"])
    assert "ablation" not in found["speed-b32"]["evidence"]


def test_the_page_tells_stage_by_stage(ran):
    assert "Stage by stage" in (ran.report / "index.html").read_text()


def test_the_last_stage_must_be_the_one_without_a_module(tmp_path, cache):
    ran = suites(
        tmp_path / "out",
        cache,
        f"--model={MODEL}",
        "--technique=onnxruntime+dynamic_int8",
        "-k",
        "size",
    )
    verdict = ran.verdicts(f"{MODEL}-onnxruntime+dynamic_int8-cpu")["size"]
    assert verdict["status"] == "REFUSED"
    assert "dynamic_int8 needs an eager module, and onnxruntime leaves none" in verdict["reason"]


def test_what_a_runtime_hides_is_counted_in_what_it_was_made_from(tmp_path, cache):
    pytest.importorskip("torch_pruning", reason="the extra `pruning` is not installed")
    ran = suites(
        tmp_path / "out",
        cache,
        f"--model={MODEL}",
        "--technique=prune_channels:0.5+onnxruntime",
        "-k",
        "evidence",
    )
    verdict = ran.verdicts(f"{MODEL}-prune_channels:0.5+onnxruntime-cpu")["evidence"]
    assert verdict["status"] == "PASS", verdict["reason"]
    text = verdict["evidence"]["claims"]["fewer_parameters"]["text"]
    assert "(in prune_channels:0.5, which it was made from)" in text


def test_what_a_pipeline_passes_through():
    known = catalog.read()
    (cell,) = matrix.cells(
        known,
        matrix="standard",
        targets=["fp16_cpu"],
        models=[MODEL],
        techniques=["prune_unstructured:0.9+channels_last+onnxruntime"],
    )
    names = [one.id for one in matrix.prefixes(known, cell, "cpu")]
    assert names == [
        f"{MODEL}-prune_unstructured:0.9-cpu",
        f"{MODEL}-prune_unstructured:0.9+channels_last-cpu",
    ]


NORMED = '''
from torch import nn
import optimizers
import zoo
from optimizers.eager import EagerModule
from zoo import digits

@zoo.register
class Normed(zoo.Model):
    name = "normed"
    evaluation_samples = 1000
    def build(self):
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Flatten(), nn.Linear(288, 10),
        )
    def train(self, module, seed):
        module[2].running_mean.normal_()
    def split(self, name):
        return digits.split(name)

@optimizers.register
class Moves(optimizers.Technique):
    """Trains, as a technique may."""
    name = "moves"
    family = "test"
    changes = "structure"
    claims = ("runs",)
    standard = ()
    def apply(self, module, context):
        module[2].running_mean.add_(0.5)
        return EagerModule(module)
'''


@pytest.mark.parametrize("technique", ["static_int8_fx", "moves+static_int8_fx"])
def test_batchnorm_that_an_earlier_stage_trained_has_not_moved_in_calibration(
    technique, tmp_path, cache
):
    (tmp_path / "normed.py").write_text(NORMED)
    words = (f"--plugin={tmp_path / 'normed.py'}", "--model=normed", f"--technique={technique}")
    ran = suites(tmp_path / "out", cache, *words, "-k", "evidence")
    verdict = ran.verdicts(f"normed-{technique}-cpu")["evidence"]
    told = verdict["evidence"]["claims"]["bn_unchanged"]
    assert (told["found"], told["text"]) == (True, "1 of 1 BatchNorms bit-identical")

"""Stages run in order, each on what the one before left, and leave a record."""

from __future__ import annotations

import pytest
import torch
from optimizers_models import apply, known, known_technique, outputs, saved, small, target
from torch import nn

from optimizers import Context, EagerModule, Refused, Technique, artifact, pipeline
from zoo import Split


def test_stages_see_their_own_params_folder_and_notes(monkeypatch, tmp_path):
    seen = []

    class Looking(Technique):
        name = "test_looking"
        variants = ({"depth": 1},)

        def apply(self, module, context):
            seen.append((context.params, context.workdir, dict(context.notes)))
            assert context.workdir.is_dir()
            context.notes["depth"] = context.params["depth"]
            return EagerModule(module.train())

    known_technique(Looking, monkeypatch)
    model = known("test_linear", monkeypatch)
    optimized, records = apply("test_looking:3+test_looking", model, tmp_path)

    work = tmp_path / "work"
    assert seen == [
        ({"depth": 3}, work / "0-test_looking", {}),
        ({"depth": 1}, work / "1-test_looking", {}),
    ]
    assert [record["notes"] for record in records] == [{"depth": 3}, {"depth": 1}]
    assert optimized.stages == [
        {"technique": "test_looking", "params": {"depth": depth}, "notes": {"depth": depth}}
        for depth in (3, 1)
    ]
    assert not optimized.module.training


def test_the_structure_of_every_stage_is_rebuilt_in_order(monkeypatch, tmp_path):
    class Wider(Technique):
        name = "test_wider"
        variants = ({"width": 3},)

        def apply(self, module, context):
            context.notes["last"] = module[-1].out_features
            return EagerModule(self.rebuild(module, context.params, context.notes))

        def rebuild(self, module, params, notes):
            return nn.Sequential(*module, nn.Linear(notes["last"], params["width"]))

    known_technique(Wider, monkeypatch)
    model = known(
        small("test_seq", architecture=lambda: nn.Sequential(nn.Linear(8, 4))), monkeypatch
    )
    optimized, _ = apply("test_wider:5+test_wider:2+dynamic_int8", model, tmp_path)
    reloaded = artifact.load(saved(optimized, tmp_path), target())
    found, expected = outputs(reloaded, model), outputs(optimized, model)
    assert found[3].shape == (3, 2)
    assert not any(layer.training for layer in reloaded.module.modules())
    assert all(torch.equal(found[size], expected[size]) for size in found)


def test_a_stage_that_returns_a_module_is_an_error(monkeypatch, tmp_path):
    class Bare(Technique):
        name = "test_bare"

        def apply(self, module, context):
            return module

    known_technique(Bare, monkeypatch)
    with pytest.raises(TypeError, match="test_bare returned a Linear, not an Optimized"):
        apply("test_bare", known("test_linear", monkeypatch), tmp_path)


def test_all_stages_are_asked_before_the_first_is_applied(monkeypatch, tmp_path):
    class Costly(Technique):
        name = "test_costly"

        def apply(self, module, context):
            pytest.fail("applied although a later stage refuses")

    class Unwilling(Technique):
        name = "test_unwilling"

        def refuses(self, model, target):
            return f"not for {model.full_name} on {target.name}"

    known_technique(Costly, monkeypatch)
    known_technique(Unwilling, monkeypatch)
    with pytest.raises(Refused, match="not for test_linear on cpu"):
        apply("test_costly+test_unwilling", known("test_linear", monkeypatch), tmp_path)


def test_claims_of_all_stages_are_joined(monkeypatch):
    stages = [("prune_unstructured", {}), ("onnxruntime", {}), ("onnxruntime_int8", {})]
    assert pipeline.claims(stages, target()) == ("zeros", "runtime", "integer_kernels")
    assert pipeline.claims([("none", {})], target("fp16_cpu")) == ("half",)


def test_no_stage_gives_the_baseline_on_the_target(monkeypatch, tmp_path):
    optimized, records = apply("", known("test_conv", monkeypatch), tmp_path, "bf16_cpu")
    assert records == []
    assert optimized.model == "test_conv"
    assert {value.dtype for value in optimized.module.parameters()} == {torch.bfloat16}


class Calling(nn.Module):
    """A Linear, then `function` of its output."""

    def __init__(self, function) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.function = function

    def forward(self, x):
        return self.function(self.linear(x))


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: torch.linalg.cholesky(x.T @ x), r"torch\.linalg.*cholesky"),
        (lambda x: torch.fft.fft(x).abs(), r"torch\.fft.*fft"),
        (lambda x: torch.cdist(x, x), r"cdist"),
    ],
)
def test_opt_22_an_operator_without_half_precision_is_refused_by_name(
    function, operator, monkeypatch, tmp_path
):
    model = small("test_calling", architecture=lambda: Calling(function))
    with pytest.raises(Refused, match=rf"{operator}.* does not run in float16 on cpu: "):
        apply("none", known(model, monkeypatch), tmp_path, "fp16_cpu")


@pytest.mark.parametrize(
    "function", [lambda x: nn.functional.layer_norm(x, (8,)), lambda x: x @ x.T]
)
def test_opt_22_what_runs_in_half_precision_is_not_refused(function, monkeypatch, tmp_path):
    model = known(small("test_calling", architecture=lambda: Calling(function)), monkeypatch)
    optimized, _ = apply("none", model, tmp_path, "fp16_cpu")
    assert outputs(optimized, model, "fp16_cpu")[3].dtype is torch.float16


def test_opt_22_another_fault_in_half_precision_stays_an_error(monkeypatch, tmp_path):
    def fail(x):
        raise RuntimeError("out of luck")

    model = known(small("test_calling", architecture=lambda: Calling(fail)), monkeypatch)
    with pytest.raises(RuntimeError, match="out of luck"):
        apply("none", model, tmp_path, "bf16_cpu")


@pytest.mark.parametrize("technique", ["prune_unstructured:0.5", "dynamic_int8", "onnxruntime"])
def test_a_module_copied_in_inference_mode_can_be_optimised_there(technique, monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    with torch.inference_mode():
        optimized, _ = apply(technique, model, tmp_path)
        reloaded = artifact.load(saved(optimized, tmp_path), target())
        found, expected = outputs(reloaded, model), outputs(optimized, model)
    assert all(torch.equal(found[size], expected[size]) for size in found)


def test_an_empty_calibration_split_is_an_error_and_a_missing_one_refused(monkeypatch, tmp_path):
    model = known("test_linear", monkeypatch)
    context = Context(model, target(), {}, 0, tmp_path)
    assert sum(len(args[0]) for args, _ in context.calibration(size=20)) == 48

    full, empty = model.split("evaluation"), Split((torch.empty(0, 8),))
    parts = {"evaluation": full, "calibration": empty, "train": empty}
    monkeypatch.setattr(type(model), "split", lambda self, name: parts[name])
    with pytest.raises(ValueError, match="calibration split of test_linear is empty"):
        apply("onnxruntime_int8", model, tmp_path)
    with pytest.raises(ValueError, match="train split of test_linear is empty"):
        context.train()


def test_a_missing_split_is_refused_with_the_models_reason(monkeypatch, tmp_path):
    context = Context(known("test_linear", monkeypatch), target(), {}, 0, tmp_path)
    with pytest.raises(Refused, match="test_linear has no train split: these tests train nothing"):
        context.train()

"""Traps that single tools set in silence, planted once each: a gate or our own code must tell.

Each was met on a trained model before there was a suite. The rest of that list, trap and tests:

- a side file of weights that size forgets: test_optimizers_onnx;
- a batch baked into a graph: test_suites_planted (fixed_batch), test_optimizers_onnx, and here;
- heads that a pruner leaves while it reports success: test_optimizers_prune_channels;
- a batch of one in training: test_optimizers_finetune, test_zoo_training;
- `.train()` and `.eval()` that raise on exported modules: test_optimizers_finetune (modes);
- a teacher that changes, a mis-scaled loss: test_optimizers_distill; no gain: test_results;
- a swapped architecture beside a quantised one: test_results, test_reports_summarize;
- a file that runs code when it is opened: test_optimizers_artifact, test_suites_planted;
- memory that is a parent's peak: test_gauge_memory.
"""

from __future__ import annotations

import copy
import logging
import warnings

import pytest
import torch
from optimizers_models import ConvNet, apply, known, known_technique, saved, target
from torch import nn

import optimizers
import zoo
from gauge import evidence
from gauge.judge import judge_reload, judge_size
from gauge.policy import DEFAULTS
from gauge.verdict import Status
from optimizers import Optimized, artifact, weights
from optimizers.artifact import ArtifactError

IMAGES = torch.linspace(-1, 1, 4 * 3 * 8 * 8).reshape(4, 3, 8, 8)


class Program(Optimized):
    """A module that torch.export saved, with whatever hangs on it."""

    def __init__(self, program):
        self.program = program
        self.graph = program.module()

    def __call__(self, *args, **kwargs):
        return self.graph(*args, **kwargs)

    def save(self, directory):
        torch.export.save(self.program, directory / "model.pt2")


def size_gate(before, after):
    sizes = [sum(artifact.sizes(folder).values()) for folder in (before, after)]
    return judge_size({"baseline_bytes": sizes[0], "candidate_bytes": sizes[1]}, DEFAULTS["size"])


# What travels along in a file.


def exported(module, example):
    with torch.no_grad():
        return Program(torch.export.export(module, (example,)))


def test_evaluation_data_behind_an_example_fails_the_size_gate(monkeypatch, tmp_path):
    # A row of the split is a view: torch.export.save writes the whole storage behind it.
    model = known("test_conv", monkeypatch)
    module = model.build().eval()
    everything = torch.randn(500, 3, 8, 8)
    folders = [tmp_path / name for name in ("plain", "view", "own")]
    for folder in folders:
        folder.mkdir()
    before = saved(apply("none", model, folders[0], module=module)[0], folders[0])
    view = saved(exported(module, everything[:2]), folders[1])
    assert size_gate(before, view).status is Status.FAIL
    own = saved(exported(module, everything[:2].clone()), folders[2])
    lost = sum(artifact.sizes(view).values()) - sum(artifact.sizes(own).values())
    assert lost > 0.9 * everything.nbytes


@pytest.mark.parametrize("name", ["digits_mlp", "lstm", "vit", "resnet18"])
def test_examples_and_batches_own_what_they_hold(name):
    model = zoo.get(name)
    given = [model.example(2), model.split("calibration").take(slice(0, 2))]
    for args, kwargs in given:
        for tensor in (*args, *kwargs.values()):
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_weights_that_nothing_computes_with_fail_the_size_gate(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    module = model.build().eval()
    folders = [tmp_path / name for name in ("plain", "carries")]
    for folder in folders:
        folder.mkdir()
    before = saved(apply("none", model, folders[0], module=module)[0], folders[0])
    # As a converter leaves the FP32 weights beside the integer ones.
    module.register_buffer("left_behind", torch.randn(64, 64))
    optimized, _ = apply("none", model, folders[1], module=module)
    assert size_gate(before, saved(optimized, folders[1])).status is Status.FAIL


# What takes fewer batch sizes than it says.


def reloaded(call, model):
    """What the reload job tells: a difference or an error for each batch size."""
    batches, errors = {}, {}
    for size in (1, 3, 32):
        args, kwargs = model.example(size)
        try:
            call(*args, **kwargs)
            batches[str(size)] = 0.0
        except Exception as error:  # noqa: BLE001 - as the job takes it: a finding
            errors[str(size)] = f"{type(error).__name__}: {error}".splitlines()[0]
    return {"batches": batches, "errors": errors}


def test_a_program_fixed_to_its_example_fails_reload_unless_it_says_so(monkeypatch):
    model = known("test_conv", monkeypatch)
    fixed = exported(model.build().eval(), model.example(3)[0][0])
    told = reloaded(fixed, model)
    assert set(told["batches"]) == {"3"}
    silent = judge_reload({**told, "batch": None})
    assert silent.status is Status.FAIL
    assert "declares no fixed batch" in silent.reason
    assert judge_reload({**told, "batch": 3}).status is Status.PASS


# What only looks quantised.


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(16 * 16, 4)

    def forward(self, pixels):
        return self.head(self.layers(pixels))


def converted(module):
    """torchao's PT2E, up to where inductor would make integer kernels of it."""
    pytest.importorskip("torchao", reason="torchao makes the graph that this is about")
    from torchao.quantization.pt2e import quantize_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchao's own uses of what torch deprecates
            graph = torch.export.export(module, (IMAGES,), strict=True).module()
            quantizer = x86.X86InductorQuantizer()
            quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
            prepared = quantize_pt2e.prepare_pt2e(graph, quantizer)
            with torch.no_grad():
                prepared(IMAGES)
            return quantize_pt2e.convert_pt2e(prepared)
    finally:
        logging.disable(logging.NOTSET)


class Eager(Optimized):
    def __init__(self, module):
        self.module = module

    def __call__(self, *args, **kwargs):
        return self.module(*args, **kwargs)


def test_a_pt2e_graph_that_was_not_lowered_has_no_integer_kernels(tmp_path):
    torch.manual_seed(0)
    module = Convolutions().eval()
    graph = converted(copy.deepcopy(module))
    names = {str(node.target) for node in graph.graph.nodes}
    assert any("dequantize" in name for name in names)  # it holds int8 weights all the same
    subject = evidence.Subject(Eager(graph), module, ((IMAGES,), {}), tmp_path, target())
    found = evidence.count(["integer_kernels"], subject)["integer_kernels"]
    assert not found["found"]
    assert found["text"].startswith("not applied: 0 of 3 layers converted")


def test_quantised_layers_whose_kernels_do_not_run_are_not_found(tmp_path):
    # Layers of the right type that compute in floating point, as where fusion fell away.
    class Pretends(nn.Linear):
        pass

    Pretends.__module__ = "torch.ao.nn.quantized.modules.linear"
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 8))
    fake = nn.Sequential(Pretends(8, 8))
    rows = torch.randn(4, 8)
    subject = evidence.Subject(Eager(fake), module, ((rows,), {}), tmp_path, target())
    found = evidence.count(["integer_kernels"], subject)["integer_kernels"]
    assert not found["found"]
    assert "no integer kernel ran" in found["text"]


# What only looks pruned.


def narrower(module):
    """ConvNet with half of its channels, as a structured pruner leaves it."""
    cut = copy.deepcopy(module)
    cut.stem[0] = nn.Conv2d(3, 8, 3, bias=False)
    cut.stem[1] = nn.BatchNorm2d(8)
    cut.depthwise = nn.Conv2d(8, 8, 3, groups=8)
    cut.head = nn.Linear(8, 4)
    return cut.eval()


def test_pruned_weights_in_the_original_class_are_an_error_and_not_a_silent_part(tmp_path):
    module = ConvNet().eval()
    cut = narrower(module)
    name = weights.save(cut, tmp_path)
    with pytest.raises(ArtifactError, match=r"does not fit the rebuilt module: .*size mismatch"):
        weights.load(module, tmp_path / name, {})


class ForgetsStructure(optimizers.Technique):
    """Prunes, and does not tell `rebuild` how."""

    name = "test_forgets_structure"
    family = "pruning"
    changes = "structure"
    claims = ("fewer_parameters",)
    standard = ()

    def apply(self, module, context):
        return optimizers.EagerModule(narrower(module))


def test_an_artifact_without_its_structure_does_not_open(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    known_technique(ForgetsStructure, monkeypatch)
    optimized, _ = apply("test_forgets_structure", model, tmp_path)
    folder = saved(optimized, tmp_path)
    with pytest.raises(ArtifactError, match="does not fit the rebuilt module"):
        artifact.load(folder, target())


def test_masks_are_neither_fewer_parameters_nor_fewer_operations(tmp_path):
    from torch.nn.utils import prune

    torch.manual_seed(0)
    module = Convolutions().eval()
    masked = copy.deepcopy(module)
    for layer in (masked.layers[0], masked.layers[2]):
        prune.ln_structured(layer, "weight", 0.5, n=2, dim=0)
        prune.remove(layer, "weight")
    subject = evidence.Subject(Eager(masked), module, ((IMAGES,), {}), tmp_path, target())
    found = evidence.count(["fewer_parameters", "fewer_macs", "zeros"], subject)
    assert not found["fewer_parameters"]["found"]
    assert not found["fewer_macs"]["found"]
    assert found["zeros"]["found"]

"""Channels that really go: the shapes, the outputs, the structure in a fresh process."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from optimizers_models import (
    ConvNet,
    LastRow,
    Reader,
    Rows,
    Tied,
    Words,
    apply,
    known,
    largest_difference,
    outputs,
    saved,
    target,
)
from slim_models import MODELS, Bidirectional, Grouped, Inverted, trainable
from torch import Tensor, nn

import zoo
from optimizers import (
    Context,
    Refused,
    artifact,
    prune_channels,
    slim_attention,
    slim_graph,
    slim_notes,
    slim_recurrent,
    slim_widths,
)

# torch says so of its transformer layers' own fused path, when they are given a padding mask.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")

needs_graph = pytest.mark.skipif(
    not __import__("importlib").util.find_spec("torch_pruning"),
    reason="torch-pruning is not installed",
)


GRAPH = ("slim_mlp", "slim_inverted", "slim_grouped")


@pytest.fixture(autouse=True)
def _briefly(monkeypatch):
    monkeypatch.setattr(prune_channels, "EPOCHS", 1.0)


def parameters(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_pruned_model_is_smaller_and_opens_again(name, monkeypatch, tmp_path):
    if name in GRAPH:
        pytest.importorskip("torch_pruning")
    model = known(MODELS[name](), monkeypatch)
    torch.manual_seed(0)
    dense = model.build().eval()
    optimized, records = apply("prune_channels:0.5", model, tmp_path, module=dense)

    assert parameters(optimized.module) < 0.9 * parameters(dense)
    groups = records[0]["notes"]["groups"]
    assert any(left < width for left, width in groups.values())
    json.dumps(records)
    measured = outputs(optimized, model)
    assert {size: one.shape for size, one in measured.items()} == {
        size: one.shape for size, one in outputs(dense, model).items()
    }
    reloaded = artifact.load(saved(optimized, tmp_path), target())
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6


@pytest.mark.parametrize("name", ["slim_inverted", "slim_vit", "slim_texts", "slim_lstm"])
def test_other_stages_can_follow(name, monkeypatch, tmp_path):
    if name in GRAPH:
        pytest.importorskip("torch_pruning")
    model = known(MODELS[name](), monkeypatch)
    optimized, _ = apply("prune_channels:0.5", model, tmp_path)
    measured = outputs(optimized, model)
    copied = copy.deepcopy(optimized.module)
    assert largest_difference(outputs(copied, model), measured) <= 1e-6
    args, kwargs = model.example(3)
    exported = torch.export.export(copied, args, kwargs, strict=True).module()
    torch.testing.assert_close(exported(*args, **kwargs), measured[3])

    following, _ = apply("onnxruntime", model, tmp_path, module=optimized.module)
    assert largest_difference(outputs(following, model), measured) <= 1e-4


def test_it_is_trained_again_as_the_model_was(monkeypatch, tmp_path):
    """On inputs that change from step to step, not on the same few again and again."""
    model = known(MODELS["slim_gru"](), monkeypatch)
    changed = []

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        changed.append(len(inputs))
        return inputs + 0.01 * torch.randn(inputs.shape, generator=generator)

    monkeypatch.setattr(type(model), "augment", augment)
    _, records = apply("prune_channels:0.5", model, tmp_path)
    assert len(changed) == sum(one["steps"] for one in records[0]["notes"]["finetune"])


FRESH = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import zoo.base
import optimizers_models as small
import test_optimizers_prune_channels as here
from optimizers import artifact
for folder in map(Path, sys.argv[1:]):
    model = zoo.base._registry[folder.name] = here.MODELS[folder.name]()
    optimized = artifact.load(folder / "artifact", small.target())
    torch.save(small.outputs(optimized, model), folder / "outputs.pt")
assert "torch_pruning" not in sys.modules
"""


def test_a_fresh_process_builds_the_same_structure(monkeypatch, tmp_path, root):
    pytest.importorskip("torch_pruning")
    measured = {}
    for name in ("slim_inverted", "slim_vit", "slim_gru"):
        folder = tmp_path / name
        folder.mkdir()
        model = known(MODELS[name](), monkeypatch)
        stages = "prune_channels:0.5" if name == "slim_gru" else "channels_last+prune_channels:0.5"
        optimized, _ = apply(stages, model, folder)
        measured[folder] = outputs(optimized, model)
        saved(optimized, folder)
    subprocess.run(
        [sys.executable, "-c", FRESH, *map(str, measured)],
        check=True,
        env={"PYTHONPATH": f"{root}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"},
    )
    for folder, expected in measured.items():
        found = torch.load(folder / "outputs.pt", weights_only=True)
        assert largest_difference(found, expected) <= 1e-6, folder.name


def test_heads_really_go(monkeypatch, tmp_path):
    """torch-pruning, told a model's heads, prunes in silence only the MLPs."""
    model = known(MODELS["slim_vit"](), monkeypatch)
    optimized, _ = apply("prune_channels:0.5", model, tmp_path)
    block = optimized.module.encoder.layers[0]
    assert block.self_attention.heads == 2
    assert block.self_attention.query.weight.shape == (16, 32)
    assert block.self_attention.output.weight.shape == (32, 16)
    assert block.mlp[0].out_features == 32

    model = known(MODELS["slim_texts"](), monkeypatch)
    (tmp_path / "texts").mkdir()
    optimized, _ = apply("prune_channels:0.5", model, tmp_path / "texts")
    layer = optimized.module.bert.encoder["layer"][1]
    assert layer.attention["self"].heads == 2
    assert layer.attention["self"].key.weight.shape == (16, 32)


def test_opened_attention_computes_the_same(monkeypatch):
    model = known(MODELS["slim_vit"](), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    opened = copy.deepcopy(module)
    assert len(slim_attention.open_attention(opened)) == 2
    assert largest_difference(outputs(opened, model), outputs(module, model)) < 1e-6


@pytest.mark.parametrize("name", ["slim_vit", "slim_texts", "slim_lstm", "slim_gru"])
def test_nothing_removed_changes_nothing(name, monkeypatch):
    model = known(MODELS[name](), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    slim_attention.open_attention(module)
    before = outputs(module, model)
    for group in groups(module, model):
        group.remove(torch.tensor([], dtype=torch.int64))
    assert largest_difference(outputs(module, model), before) == 0


@pytest.mark.parametrize(
    "name", ["slim_vit", "slim_texts", "slim_encoder", "slim_lstm", "slim_gru"]
)
def test_a_removed_unit_is_one_that_nobody_reads(name, monkeypatch):
    model = known(MODELS[name](), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    slim_attention.open_attention(module)
    silent = copy.deepcopy(module)
    for removed, quiet in zip(groups(module, model), groups(silent, model), strict=True):
        units = torch.tensor([1, removed.width - 1])
        removed.remove(units)
        quiet.switch_off(units)
    assert parameters(module) < parameters(silent)
    assert largest_difference(outputs(module, model), outputs(silent, model)) < 1e-6


def groups(module: nn.Module, model: zoo.Model) -> list[Any]:
    context = Context(model, target(), {}, 0, Path())
    return prune_channels.find_groups(module, model.example(2), context)


def test_the_reader_of_the_states_is_found_among_others_of_its_size():
    torch.manual_seed(0)
    module = Bidirectional().eval()
    batch = ((torch.randn(2, 5, 8),), {})
    (found,) = slim_recurrent.groups(module, batch)
    assert any(member.layer is module.head for member in found.members)
    assert not any(member.layer is module.decoy for member in found.members)


def test_recurrent_layers_that_a_cell_or_several_layers_read_stay():
    torch.manual_seed(0)
    batch = ((torch.randn(2, 5, 8),), {})
    found = {one.name for one in slim_recurrent.groups(Reader().eval(), batch)}
    # The GRU is read by an LSTMCell, which is left as it is.
    assert found == {"lstm units"}


def test_the_worst_units_go():
    module = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        module[0].weight[[1, 4]] *= 1e-3
        module[2].weight[:, [1, 4]] *= 1e-3
        kept = module[0].weight[[0, 2, 3, 5]].clone()
    from optimizers.slim_units import neurons

    group = neurons("between", module[0], module[2])
    batch = ((torch.randn(2, 8),), {})
    prune_channels.cut(module, group, group.score("magnitude"), 4, batch)
    assert torch.equal(module[0].weight, kept)
    assert (module[0].out_features, module[2].in_features) == (4, 4)


@needs_graph
@pytest.mark.parametrize("name", ["slim_mlp", "slim_lstm"])
def test_taylor_importance_ranks_by_the_loss(name, monkeypatch, tmp_path):
    model = known(MODELS[name](), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    train = model.split("train")
    scores = prune_channels._scores(module, groups(module, model), "taylor", train)
    (found,) = scores.values()
    assert (found > 0).all()
    assert all(one.grad is None for one in module.parameters())
    optimized, _ = apply("prune_channels:0.5:taylor", model, tmp_path, module=module)
    assert parameters(optimized.module) < parameters(module)


def test_taylor_importance_without_labels_is_refused(monkeypatch, tmp_path):
    model = known(MODELS["slim_texts"](), monkeypatch)
    with pytest.raises(Refused, match="Taylor importance needs labels"):
        apply("prune_channels:0.5:taylor", model, tmp_path)


@needs_graph
def test_layers_that_another_stage_has_changed_have_no_heads_to_lose(monkeypatch, tmp_path):
    model = known(MODELS["slim_vit"](), monkeypatch)
    stages = "low_rank:0.5:false+prune_channels:0.5"
    optimized, records = apply(stages, model, tmp_path)
    assert not any("heads" in name for name in records[1]["notes"]["groups"])
    assert optimized.module.encoder.layers[0].self_attention.heads == 4


# OPT-16: depthwise, residual, grouped and tied layers, and the classifier.
@needs_graph
def test_classes_groups_and_ties_stay():
    torch.manual_seed(0)
    batch = ((torch.randn(2, 3, 8, 8),), {})
    names = {one.name for one in slim_graph.groups(Inverted().eval(), batch)}
    assert not any(name.startswith("head") for name in names)
    assert len(names) == 2, "the residual sum, and the inside of the block"
    assert {one.name for one in slim_graph.groups(Grouped().eval(), batch)} == {"body.2", "body.3"}
    assert slim_graph.groups(Tied().eval(), ((torch.randint(0, 50, (2, 7)),), {})) == []


@needs_graph
def test_depthwise_channels_go_with_those_that_they_are_made_from():
    torch.manual_seed(0)
    module = Inverted().eval()
    batch = ((torch.randn(2, 3, 8, 8),), {})
    for group in slim_graph.groups(module, batch):
        prune_channels.cut(module, group, group.score("magnitude"), group.width // 2, batch)
    assert module.depthwise.groups == module.depthwise.in_channels == 16
    assert module.depthwise.weight.shape == (16, 1, 3, 3)
    assert module.head.in_features == 8 * 64
    assert module(batch[0][0]).shape == (2, 4)


@needs_graph
def test_a_tied_model_is_refused(monkeypatch, tmp_path):
    model = known(trainable("slim_words", Words, Tied), monkeypatch)
    with pytest.raises(Refused, match="no channel of slim_words can go: each is tied"):
        apply("prune_channels:0.5", model, tmp_path)


class Broken:
    """A group that forgets the layer behind (a depthwise convolution keeps its groups)."""

    name, width, grain = "stem", 16, 1

    def __init__(self, module: nn.Module, classifier: bool = False) -> None:
        self.layer = module.head if classifier else module.stem[0]

    def remove(self, units: Tensor) -> None:
        self.layer.weight = nn.Parameter(self.layer.weight.detach()[len(units) :])
        self.layer.bias = nn.Parameter(self.layer.bias.detach()[len(units) :])


def test_broken_shapes_are_an_error_that_names_the_group():
    batch = ((torch.randn(2, 3, 8, 8),), {})
    module = Inverted().eval()
    with pytest.raises(RuntimeError, match="without 3 of 16 channels of stem the model does not"):
        prune_channels.cut(module, Broken(module), torch.rand(16), 13, batch)
    module = Inverted().eval()
    with pytest.raises(RuntimeError, match=r"3 of 16 channels of stem .* \[\(2, 1\)\], not"):
        prune_channels.cut(module, Broken(module, True), torch.rand(16), 13, batch)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_a_training_is_worth_is_asked_before_any_of_the_structure_that_it_will_have(
    name, monkeypatch, tmp_path
):
    """Between the cuts more is left than in the end, and a training is behind that."""
    model = known(MODELS[name](), monkeypatch)
    module, seen, trained = model.build().eval(), [], []
    train = prune_channels.finetune

    def finetune(*args, **kwargs):
        trained.append(len(seen))
        return train(*args, **kwargs)

    monkeypatch.setattr(prune_channels, "finetune", finetune)

    def worth(asked: nn.Module) -> None:
        seen.append(parameters(asked))
        if not trained:
            raise LookupError("not worth it")

    params = {"amount": 0.5, "importance": "magnitude"}
    context = Context(model, target(), params, 0, tmp_path, worth=worth)
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(LookupError):
        prune_channels.PruneChannels().apply(module, context)
    assert trained == []
    # Attention is opened up: its layers have other names.
    left = {key: one for key, one in module.state_dict().items() if key in before}
    assert left
    assert all(torch.equal(one, before[key]) for key, one in left.items())
    trained.append(0)
    made = prune_channels.PruneChannels().apply(module, context)
    assert seen == [parameters(made.module)] * 2
    assert trained == [0, 2, 2], "it is asked once, for both trainings"


def test_without_a_training_split_it_is_refused(monkeypatch, tmp_path):
    model = known("test_conv", monkeypatch)
    with pytest.raises(Refused, match="test_conv has no train split"):
        apply("prune_channels:0.5", model, tmp_path)


@pytest.mark.parametrize("technique", ["prune_channels:1.5", "prune_channels:0.5:random"])
def test_parameters_that_mean_nothing_are_an_error(technique, monkeypatch, tmp_path):
    model = known(MODELS["slim_lstm"](), monkeypatch)
    with pytest.raises(ValueError, match="amount must lie between 0 and 1 and importance"):
        apply(technique, model, tmp_path)


@pytest.mark.parametrize(
    ("width", "amount", "left"),
    [
        (64, 0.5, 32),
        (64, 0.7, 16),
        (128, 0.7, 32),
        (256, 0.7, 64),
        (512, 0.7, 160),
        (576, 0.5, 288),
        (96, 0.5, 48),
        (72, 0.5, 32),
        (88, 0.5, 48),
        (48, 0.5, 24),
        (40, 0.5, 16),
        (24, 0.5, 16),
        (16, 0.5, 16),
        (4, 0.5, 4),
    ],
)
def test_counts_are_rounded_to_what_kernels_like(width, amount, left):
    assert slim_widths.kept(width, amount) == left


@pytest.mark.parametrize(("heads", "amount", "left"), [(12, 0.5, 6), (4, 0.3, 3), (2, 0.9, 1)])
def test_heads_are_rounded_to_whole_ones(heads, amount, left):
    assert slim_widths.kept(heads, amount, 32) == left


def test_a_model_of_narrow_layers_is_refused(monkeypatch, tmp_path):
    model = known(trainable("slim_narrow", Rows, LastRow, 3), monkeypatch)
    with pytest.raises(Refused, match="no layer of slim_narrow is wider than the 16 channels"):
        apply("prune_channels:0.5", model, tmp_path)


def test_sizes_survive_ties_and_memory_formats():
    module = nn.ModuleDict({"first": ConvNet(), "tied": Tied()})
    module.to(memory_format=torch.channels_last)
    before = slim_notes.sizes(module)
    slim = copy.deepcopy(module)
    slim["tied"].embedding.weight = nn.Parameter(torch.zeros(50, 8))
    slim["tied"].head.weight = slim["tied"].embedding.weight
    slim["tied"].head.in_features = 8
    slim["first"].stem[0].weight = nn.Parameter(torch.zeros(16, 2, 3, 3))
    laid = slim_notes.laid_channels_last(module)
    assert slim_notes.laid_channels_last(slim) == []
    slim_notes.lay_channels_last(slim, laid)
    assert slim_notes.laid_channels_last(slim) == laid
    notes = slim_notes.changed(before, slim)
    assert notes["settings"] == {"tied.head.in_features": 8}
    slim_notes.resize(module, json.loads(json.dumps(notes)))
    assert module["tied"].head.weight is module["tied"].embedding.weight
    assert module["first"].stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert slim_notes.sizes(module) == slim_notes.sizes(slim)
    module.load_state_dict(slim.state_dict())

    slim["tied"].head.bias = nn.Parameter(torch.zeros(50))
    with pytest.raises(ValueError, match=r"came or went .* tied\.head\.bias"):
        slim_notes.changed(before, slim)

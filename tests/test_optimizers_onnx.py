"""The ONNX runtime is called like the module, on the device that was asked for, or not at all."""

from __future__ import annotations

import copy
import json
import site
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from optimizers_models import (
    Images,
    Output,
    Scores,
    apply,
    known,
    largest_difference,
    noise,
    outputs,
    saved,
    small,
    target,
)
from torch import nn

import optimizers
from optimizers import Context, OnnxModel, Refused, artifact, onnx_export, onnx_model
from optimizers.artifact import ArtifactError
from optimizers.interface import Interface

# torch says so of its transformer layers' own fused path, when they are given a padding mask.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """An exported encoder (integer ids, a mask, an unused argument), its model and its notes."""
    folder = tmp_path_factory.mktemp("sentences")
    with pytest.MonkeyPatch.context() as patch:
        model = known("test_sentences", patch)
        optimized, (record,) = apply("onnxruntime", model, folder)
        return optimized, model, record["notes"], saved(optimized, folder)


def _ids_and_mask(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return torch.randint(0, 50, (rows, 7), generator=generator), torch.ones(rows, 7).long()


def test_opt_12_arguments_may_come_by_position_or_by_name(sentences):
    optimized, *_ = sentences
    ids, mask = _ids_and_mask(3)
    expected = optimized(ids, mask)
    for found in (
        optimized(ids=ids, mask=mask),
        optimized(mask=mask, ids=ids),
        optimized(ids, mask=mask),
        optimized(ids, mask, None),
        optimized(ids, mask, unused=None),
    ):
        assert torch.equal(found, expected)


def test_opt_12_what_was_dropped_is_said(sentences):
    _, _, notes, folder = sentences
    assert notes["dropped"] == ["unused"]
    interface = json.loads((folder / "artifact.json").read_text())["interface"]
    assert interface["constants"] == {"unused": None}
    assert set(interface["inputs"]) == {"ids", "mask"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ids": torch.ones(2, 7)}, r"'ids' must be torch\.int64, found torch\.float32"),
        ({"mask": torch.ones(2, 7).bool()}, r"'mask' must be torch\.int64, found torch\.bool"),
        ({"mask": None}, r"'mask' must be torch\.int64, found NoneType"),
        ({"unused": torch.ones(2)}, "'unused' is None in the exported graph, found a tensor"),
        ({"unused": 3}, "'unused' is None in the exported graph, found 3"),
        ({"other": None}, "unexpected argument 'other'"),
    ],
)
def test_opt_12_a_wrong_argument_is_named_with_what_was_expected(sentences, arguments, sentence):
    ids, mask = _ids_and_mask(2)
    with pytest.raises(TypeError, match=sentence):
        sentences[0](**({"ids": ids, "mask": mask} | arguments))


def test_opt_12_missing_doubled_and_surplus_arguments_are_named(sentences):
    optimized, *_ = sentences
    ids, mask = _ids_and_mask(2)
    with pytest.raises(TypeError, match="missing arguments: mask"):
        optimized(ids)
    with pytest.raises(TypeError, match="'ids' is given twice"):
        optimized(ids, mask, ids=ids)
    with pytest.raises(TypeError, match="takes 3 arguments, found 4"):
        optimized(ids, mask, None, None)


def test_opt_12_a_tensor_the_graph_does_not_take_is_left_out():
    interface = Interface(
        ["x", "y"], {"x": {"name": "in", "dtype": "torch.float32"}}, {}, ["y"], None
    )
    x = torch.ones(2)
    assert interface.feeds((x, torch.ones(3)), {}) == {"in": x}


def test_inputs_are_neither_changed_nor_need_to_be_contiguous(sentences):
    optimized, *_ = sentences
    ids, mask = _ids_and_mask(4)
    wide = torch.stack([ids, ids], dim=-1)
    before = wide.clone()
    assert torch.equal(optimized(wide[..., 0], mask), optimized(ids, mask))
    assert torch.equal(wide, before)


def test_results_do_not_change_with_the_next_call(sentences):
    optimized, *_ = sentences
    first = optimized(*_ids_and_mask(3))
    kept = first.clone()
    optimized(*_ids_and_mask(3)[:1], mask=torch.zeros(3, 7).long() + 1)
    optimized(_ids_and_mask(3)[0] * 0, _ids_and_mask(3)[1])
    assert torch.equal(first, kept)


def test_bound_inputs_and_outputs_give_what_arrays_give(sentences):
    """The way used on a GPU, here on the CPU."""
    optimized, *_ = sentences
    ids, mask = _ids_and_mask(5)
    feeds = optimized.interface.feeds((ids, mask), {})
    (bound,), (plain,) = optimized._run_bound(feeds), optimized._run_arrays(feeds)
    assert torch.equal(bound, plain)


def test_the_session_is_set_up_for_the_target(sentences):
    optimized, *_ = sentences
    options = optimized.session.get_session_options()
    assert options.intra_op_num_threads == target().threads == 1
    assert options.inter_op_num_threads == 1
    assert optimized.session.get_providers() == ["CPUExecutionProvider"]


def test_files_hold_no_path_of_this_machine(sentences):
    _, _, _, folder = sentences
    places = [str(Path(onnx_export.__file__).parent.parent), *site.getsitepackages()]
    for file in folder.iterdir():
        data = file.read_bytes()
        assert not [place for place in places if place.encode() in data], file.name
    assert b"stack_trace" not in (folder / "model.onnx").read_bytes()


def test_opt_08b_another_provider_than_asked_for_is_never_used(sentences):
    optimized, *_ = sentences
    with pytest.raises(
        RuntimeError, match="asked for CUDAExecutionProvider, got CPUExecutionProvider"
    ):
        onnx_model.open_session(optimized.path, "CUDAExecutionProvider", 1)


@pytest.mark.skipif(onnx_model.missing(target("cuda")) is None, reason="onnxruntime has CUDA")
@pytest.mark.parametrize("technique", ["onnxruntime", "onnxruntime_int8"])
def test_opt_08b_cuda_without_its_provider_is_refused_with_the_way_out(technique, monkeypatch):
    sentence = optimizers.get(technique).refuses(known("test_linear", monkeypatch), target("cuda"))
    assert sentence is not None
    assert "no CUDAExecutionProvider" in sentence
    assert "optgauge[gpu]" in sentence


def _wrapped(wrap, monkeypatch, tmp_path):
    model = known(small("test_output", architecture=lambda: Output(wrap)), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    return model, module, apply("onnxruntime", model, tmp_path, module=module)[0]


def test_opt_34_nested_outputs_keep_their_structure(monkeypatch, tmp_path):
    def wrap(y, x):
        # Keys out of order, a tensor twice, an input, None: everything a flat list could mix up.
        return {"z": [y, (y * 2, None)], "a": y, "x": x}

    model, module, optimized = _wrapped(wrap, monkeypatch, tmp_path)
    reloaded = artifact.load(saved(optimized, tmp_path), target())
    (x,), _ = model.example(3)
    with torch.no_grad():
        expected = module(x)
    for call in (optimized, reloaded):
        found = call(x)
        assert list(found) == ["z", "a", "x"]
        assert type(found["z"]) is list
        assert type(found["z"][1]) is tuple
        assert found["z"][1][1] is None
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("wrap", "sentence"),
    [
        (lambda y, x: Scores(y), "output is a Scores: a file can only give back tensors"),
        (lambda y, x: [y, {"a": Scores(y)}], r"output\[1\]\.a is a Scores"),
        (lambda y, x: (y, 3), r"output\[1\] is a int"),
        (lambda y, x: {0: y}, "output is a dict"),
    ],
)
def test_opt_34_outputs_that_no_file_can_hold_are_refused(wrap, sentence, monkeypatch, tmp_path):
    with pytest.raises(Refused, match=sentence):
        _wrapped(wrap, monkeypatch, tmp_path)


def test_opt_34_eager_techniques_take_any_output(monkeypatch, tmp_path):
    model = known(
        small("test_output", architecture=lambda: Output(lambda y, x: Scores(y))), monkeypatch
    )
    optimized, _ = apply("dynamic_int8", model, tmp_path)
    reloaded = artifact.load(saved(optimized, tmp_path), target())
    assert isinstance(outputs(reloaded, model)[3], Scores)


class FlattenByBatch(nn.Module):
    """int(x.shape[0]), which a first way of tracing bakes in."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        return self.linear(x.reshape(int(x.shape[0]), -1))


class RowByRow(FlattenByBatch):
    """A Python loop over the batch, which no way of tracing keeps."""

    def forward(self, x):
        return torch.cat([self.linear(row[None]) for row in x])


def test_opt_10_a_batch_read_as_a_number_is_exported_for_any_batch(monkeypatch, tmp_path):
    model = known(small("test_flatten", architecture=FlattenByBatch), monkeypatch)
    optimized, _ = apply("onnxruntime", model, tmp_path)
    assert {size: len(y) for size, y in outputs(optimized, model).items()} == {1: 1, 3: 3, 32: 32}


def test_opt_10_a_prebuilt_file_for_one_batch_size_is_an_error(monkeypatch, tmp_path):
    model = known("test_linear", monkeypatch)
    module = model.build().eval()
    path = tmp_path / "one.onnx"
    torch.onnx.export(module, model.example(1)[0], path, verbose=False, external_data=False)
    context = Context(model, target(), {}, 0, tmp_path)
    with pytest.raises(RuntimeError, match="the graph accepts batch 1 only: at batch 2, "):
        onnx_export.opened(path, module, context)


@pytest.mark.parametrize("technique", ["onnxruntime", "onnxruntime_int8"])
def test_opt_10_a_graph_with_its_batch_baked_in_is_an_error(technique, monkeypatch, tmp_path):
    model = known(small("test_loop", architecture=RowByRow), monkeypatch)
    with pytest.raises(RuntimeError, match="the graph accepts batch 2 only: at batch 1, "):
        apply(technique, model, tmp_path)


class QR(nn.Module):
    def forward(self, x):
        return torch.linalg.qr(x.reshape(-1, 2, 4))[0]


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_opt_11_an_operator_without_onnx_form_is_refused_by_name(monkeypatch, tmp_path):
    model = known(small("test_qr", architecture=QR), monkeypatch)
    with pytest.raises(Refused) as caught:
        apply("onnxruntime", model, tmp_path)
    for part in ("linalg_qr", "torch.onnx dynamo exporter", "opset 20", "test_qr"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_opt_11_a_module_that_cannot_be_traced_is_refused(monkeypatch, tmp_path):
    model = known(small("test_branching", architecture=Branching), monkeypatch)
    with pytest.raises(Refused, match=r"torch\.onnx dynamo exporter \(opset 20\) cannot export"):
        apply("onnxruntime", model, tmp_path)


class Constants(nn.Module):
    def forward(self, input, /, *rest, flag=True, scale=2.0, **others):
        found = input * scale if flag else input
        return found + rest[0] - others["shift"]


class Arguments(Images):
    """Positional-only, variable and keyword arguments, and plain constants among them."""

    architecture = Constants

    def example(self, batch):
        one, two, three = torch.randn(3, batch, 4, generator=torch.Generator().manual_seed(batch))
        return (one, two), {"scale": 3.0, "shift": three}


def test_constants_and_variable_arguments_are_mapped_by_name(monkeypatch, tmp_path):
    model = known(small("test_arguments", Arguments), monkeypatch)
    optimized, (record,) = apply("onnxruntime", model, tmp_path)
    assert record["notes"]["dropped"] == ["flag", "scale"]
    assert largest_difference(outputs(optimized, model), outputs(model.build(), model)) < 1e-6
    (one, two), _ = model.example(2)
    with pytest.raises(TypeError, match=r"'scale' is 3\.0 in the exported graph, found 2\.0"):
        optimized(one, two, scale=2.0, shift=one)


def test_an_argument_that_no_graph_takes_is_refused(monkeypatch, tmp_path):
    class Nested(Images):
        architecture = Constants

        def example(self, batch):
            return (torch.ones(batch, 2), [torch.ones(batch, 2)]), {"shift": torch.ones(batch, 2)}

    model = known(small("test_nested", Nested), monkeypatch)
    with pytest.raises(Refused, match="argument 'rest_0' is a list: a graph takes tensors"):
        apply("onnxruntime", model, tmp_path)


def test_weights_too_large_for_one_file_lie_beside_it_and_are_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_export, "_ONE_FILE", 1000)
    model = known(small("test_wide", architecture=lambda: nn.Linear(8, 512)), monkeypatch)
    for technique, bytes_each in (("onnxruntime", 4), ("onnxruntime_int8", 1)):
        folder = tmp_path / technique
        folder.mkdir()
        optimized, _ = apply(technique, model, folder)
        artifact_folder = saved(optimized, folder)
        sizes = artifact.sizes(artifact_folder)
        assert sizes["model.onnx.data"] >= bytes_each * 8 * 512
        reloaded = artifact.load(artifact_folder, target())
        assert largest_difference(outputs(reloaded, model), outputs(optimized, model)) == 0


def test_an_export_is_made_once_for_all_that_ask_for_the_same_module(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_export, "_ONE_FILE", 1000)  # The weights lie beside it.
    model = known(small("test_wide", architecture=lambda: nn.Linear(8, 512)), monkeypatch)
    module, made = model.build().eval(), []
    export = onnx_export._export
    monkeypatch.setattr(onnx_export, "_export", lambda *how: made.append(1) or export(*how))

    def exported(number, module=module):
        folder = tmp_path / str(number)
        folder.mkdir()
        own = Context(model, target(), {}, 0, folder, exported=tmp_path / "exported")
        return onnx_export.export(module, own), own.notes

    (first, told), (second, again) = exported(1), exported(2)
    assert len(made) == 1
    assert (second.interface, again) == (first.interface, told)
    assert second.path.parent == tmp_path / "2"
    assert largest_difference(outputs(second, model), outputs(module, model)) < 1e-6
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.bias[7] += 1e-6  # Too little for a check to tell.
    third, _ = exported(3, other)
    assert len(made) == 2
    assert largest_difference(outputs(third, model), outputs(other, model)) < 1e-6
    exported(4, nn.Sequential(module))
    assert len(made) == 3, "its layers are others"


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("artifact.json", lambda path: path.write_text("{}"), r"artifact\.json is not of schema"),
        ("artifact.json", lambda path: path.unlink(), r"artifact\.json is missing"),
        ("model.onnx", lambda path: path.unlink(), r"model\.onnx is missing"),
        (
            "model.onnx",
            lambda path: path.write_bytes(path.read_bytes()[:200]),
            r"model\.onnx cannot be opened",
        ),
    ],
)
def test_a_damaged_onnx_artifact_is_named(sentences, name, damage, sentence, tmp_path):
    for file in sentences[3].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path / name)
    with pytest.raises(ArtifactError, match=sentence):
        OnnxModel.load(tmp_path, target())


def test_an_onnx_file_cannot_read_a_file_outside_its_folder(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "artifact"
    folder.mkdir()
    weight = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [value("x", 1, [4])],
        [value("y", 1, [4])],
        [weight],
    )
    opset = [helper.make_opsetid("", 20)]
    (folder / "model.onnx").write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    )
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be opened"):
        OnnxModel(folder / "model.onnx", Interface([], {}, {}, [], None), target())


def test_opt_16_int8_of_a_tied_head_stores_the_shared_weight_once(monkeypatch, tmp_path):
    """onnxruntime would use the head's scales, one a channel, for looked-up rows, and fail."""
    model = known("test_words", monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, _ = apply("onnxruntime_int8", model, tmp_path, module=module)
    assert noise(outputs(optimized, model), outputs(module, model)) < 0.01
    shared = [
        tensor.data_type
        for tensor in onnx.load(optimized.path).graph.initializer
        if list(tensor.dims) == [50, 16]
    ]
    assert shared == [TensorProto.INT8]


def test_int8_with_a_padding_mask_stays_close(monkeypatch, tmp_path):
    """A mask of minus infinity has no scale: scores must not be quantised after it."""
    model = known("test_sentences", monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, (record,) = apply("onnxruntime_int8", model, tmp_path, module=module)
    assert noise(outputs(optimized, model), outputs(module, model)) < 0.01
    assert record["notes"]["samples"] == 48


def test_int8_weights_have_a_scale_a_channel(monkeypatch, tmp_path):
    optimized, _ = apply("onnxruntime_int8", known("test_conv", monkeypatch), tmp_path)
    graph = onnx.load(optimized.path).graph
    scales = {
        tensor.name: list(tensor.dims)
        for tensor in graph.initializer
        if tensor.name.endswith("weight_scale")
    }
    assert [16] in scales.values(), scales

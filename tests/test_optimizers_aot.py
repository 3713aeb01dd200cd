"""Packages that torch's inductor compiled: what they take, what they hold, what they run."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from optimizers_models import (
    BATCHES,
    Images,
    Output,
    Small,
    apply,
    known,
    largest_difference,
    outputs,
    saved,
    small,
    target,
)
from torch import nn

from optimizers import Refused, aot_build, artifact
from optimizers.aot_package import AotPackage, Rows, division

pytestmark = pytest.mark.skipif(aot_build.missing() is not None, reason=str(aot_build.missing()))


class Two(nn.Module):
    """Two inputs by name, an integer one among them, and a dict that holds a tuple."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, ids, weight, unused=None):
        states = self.embedding(ids).mean(1) * weight
        return {"logits": self.head(states), "parts": (states, weight)}


class TwoInputs(Small):
    architecture = Two

    def inputs(self, generator, rows):
        return {
            "weight": torch.rand(rows, 1, generator=generator),
            "ids": torch.randint(0, 50, (rows, 7), generator=generator),
        }


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """(model, module, package, artifact's folder), compiled once for all tests."""
    folder = tmp_path_factory.mktemp("aot")
    model = small("test_two", TwoInputs)
    torch.manual_seed(0)
    module = model.build().eval()
    package, _ = apply("aot_inductor", model, folder, module=module)
    return model, module, package, saved(package, folder)


def test_a_package_gives_the_modules_outputs_at_every_batch_size(compiled):
    model, module, package, folder = compiled
    reloaded = artifact.load(folder, target())
    assert type(reloaded) is AotPackage
    for size in (*BATCHES, 2, 31, 33, 70):
        args, kwargs = model.example(size)
        expected, found = module(*args, **kwargs), package(*args, **kwargs)
        again = reloaded(*args, **kwargs)
        assert set(found) == {"logits", "parts"}
        assert type(found["parts"]) is tuple
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(again, found, rtol=0, atol=0)


FRESH = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import optimizers_models as small
from optimizers import artifact
from test_optimizers_aot import TwoInputs
optimized = artifact.load(Path(sys.argv[1]), small.target())
model = small.small("test_two", TwoInputs)
args, kwargs = model.example(3)
torch.save(optimized(*args, **kwargs)["logits"], sys.argv[2])
assert "torch._inductor.compile_fx" not in sys.modules, "loading imported the compiler"
"""


def test_a_package_loads_in_a_fresh_process_without_the_compiler(compiled, tmp_path, root):
    model, module, _, folder = compiled
    file = tmp_path / "logits.pt"
    subprocess.run(
        [sys.executable, "-c", FRESH, folder, file],
        check=True,
        env={"PYTHONPATH": f"{root}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"},
    )
    _, kwargs = model.example(3)
    torch.testing.assert_close(torch.load(file, weights_only=True), module(**kwargs)["logits"])


def test_opt_12_wrong_arguments_are_named(compiled):
    model, _, package, _ = compiled
    ids, weight = model.example(3)[1]["ids"], model.example(3)[1]["weight"]
    with pytest.raises(TypeError, match=r"argument 'ids' must be torch.int64, found torch.float32"):
        package(ids.float(), weight)
    with pytest.raises(TypeError, match="missing arguments: weight"):
        package(ids)
    with pytest.raises(TypeError, match="argument 'unused' is None in the exported graph"):
        package(ids, weight, ids)
    # The program itself would read past the end of the shorter input.
    with pytest.raises(ValueError, match=r"compiled for inputs like \[2, 7\], found \[3, 5\]"):
        package(ids[:, :5], weight)
    with pytest.raises(ValueError, match=r"inputs of \[2, 3\] samples in one call"):
        package(ids, weight[:2])


def test_an_input_with_other_strides_gives_the_same(compiled):
    model, module, package, _ = compiled
    kwargs = model.example(32)[1]
    turned = {**kwargs, "ids": kwargs["ids"].t().contiguous().t()}
    assert not turned["ids"].is_contiguous()
    torch.testing.assert_close(package(**turned), module(**kwargs))


def test_a_package_holds_no_data_no_sources_and_no_folders_of_this_machine(compiled):
    model, _, _, folder = compiled
    example = model.example(32)[1]
    for path in folder.glob("*.pt2"):
        names = zipfile.ZipFile(path).namelist()
        assert not [name for name in names if name.endswith(".cpp")]
        content = path.read_bytes()
        for value in example.values():
            assert value.numpy().tobytes()[:64] not in content


def test_a_changed_package_is_not_opened(compiled, tmp_path):
    *_, folder = compiled
    copy = tmp_path / "artifact"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    file = copy / "model-b1.pt2"
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(artifact.ArtifactError, match=r"model-b1.pt2 differs from its SHA-256"):
        artifact.load(copy, target())


@pytest.mark.parametrize(
    ("count", "calls"),
    [
        (1, [(1, 1)]),
        (3, [(1, 1)] * 3),
        (8, [(8, 32)]),
        (32, [(32, 32)]),
        (50, [(32, 32), (18, 32)]),
        (65, [(32, 32), (32, 32), (1, 1)]),
    ],
)
def test_other_batch_sizes_are_computed_in_parts(count, calls):
    assert division(count, [32, 1]) == calls


def test_a_part_is_filled_up_with_the_last_sample_along_any_dimension():
    rows = Rows([([5, 2], 1), ([4], None)], [0])
    many, shared = torch.arange(15.0).reshape(5, 3), torch.arange(4.0)
    first, second = rows.take([many, shared], 2, 1, 2)
    assert torch.equal(first, many[:, [2, 2]])
    assert second is shared
    assert rows.count([many, shared]) == 3
    joined = rows.join([(2, [torch.zeros(2, 3)]), (1, [torch.ones(2, 3)])])
    assert joined[0].tolist() == [[0] * 3, [0] * 3, [1] * 3]


@pytest.mark.parametrize(
    ("wrap", "sentence"),
    [
        (lambda y, x: y.mean(0), "output 0 grows with the batch in 0 dimensions"),
        (lambda y, x: y @ y.t(), "output 0 grows with the batch in 2 dimensions"),
    ],
)
def test_outputs_that_mix_samples_are_refused(wrap, sentence, tmp_path):
    model = small("test_mixed", architecture=lambda: Output(wrap))
    with pytest.raises(Refused, match=sentence):
        apply("aot_inductor", model, tmp_path)


def test_opt_11_a_module_that_cannot_be_exported_is_refused_with_the_reason(tmp_path):
    class Branches(nn.Linear):
        def forward(self, x):
            x = super().forward(x)
            return x if x.sum().item() > 0 else -x

    model = small("test_branches", architecture=lambda: Branches(8, 4))
    with pytest.raises(Refused, match=r"torch.export cannot export test_branches: "):
        apply("aot_inductor", model, tmp_path)


@pytest.mark.parametrize("observer", ["minmax", "histogram"])
def test_static_int8_is_close_and_reloads(observer, monkeypatch, tmp_path):
    pytest.importorskip("torchao")
    model = known("test_conv", monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    package, records = apply(f"static_int8:{observer}", model, tmp_path, module=module)
    measured = outputs(package, model)
    folder = saved(package, tmp_path)
    reloaded = artifact.load(folder, target())
    assert largest_difference(outputs(reloaded, model), measured) == 0
    assert 0 < largest_difference(measured, outputs(module, model)) < 0.1
    notes = records[-1]["notes"]
    assert (notes["samples"], notes["quantised"], len(notes["noise"])) == (48, 3, 3)
    assert [path.name for path in folder.glob("*.pt2")] == ["model.pt2"]


class NoCalibration(Images):
    def inputs(self, generator, rows):
        return (torch.zeros(0 if rows == 48 else rows, 3, 8, 8),)


@pytest.mark.parametrize("technique", ["static_int8", "static_int8_fx"])
def test_opt_04_an_empty_calibration_split_is_an_error(technique, tmp_path):
    pytest.importorskip("torchao")
    from optimizers_models import ConvNet

    model = small("test_empty", NoCalibration, ConvNet)
    with pytest.raises(ValueError, match="the calibration split of test_empty is empty"):
        apply(technique, model, tmp_path)


@pytest.mark.parametrize("technique", ["static_int8", "qat_int8", "static_int8_fx"])
def test_int8_is_refused_where_it_has_no_kernels(technique, tmp_path):
    model = small("test_linear", architecture=lambda: nn.Linear(8, 4))
    if technique == "qat_int8":
        with pytest.raises(Refused, match="test_linear has no train split"):
            apply(technique, model, tmp_path)
        return
    with pytest.raises(Refused, match="int8 kernels are CPU only"):
        apply(technique, model, tmp_path, "cuda")
    with pytest.raises(Refused, match="int8 leaves nothing in half precision"):
        apply(technique, model, tmp_path, "bf16_cpu")


def test_opt_16_an_int8_head_is_stored_beside_the_table_it_was_tied_to(monkeypatch, tmp_path):
    pytest.importorskip("torchao")
    model = known("test_words", monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    package, records = apply("static_int8", model, tmp_path, module=module)
    assert records[-1]["notes"]["quantised"] == 1
    # Calibrated on 48 random means, it clips some of the others.
    assert largest_difference(outputs(package, model), outputs(module, model)) < 0.3
    # One tensor before, the table in FP32 and the head in int8 after: size has to tell it.
    table = module.embedding.weight.detach().numpy().tobytes()
    with zipfile.ZipFile(saved(package, tmp_path) / "model.pt2") as archive:
        objects = [archive.read(name) for name in archive.namelist() if name.endswith(".so")]
    assert table in b"".join(objects)
    with pytest.raises(Refused, match="no Linear layer with a weight of its own in test_words"):
        apply("weight_only_int8", model, tmp_path / "weights")


class Uneven(Small):
    """A classifier whose first feature is 3000 times the others, its weight as much smaller."""

    def build(self):
        module = nn.Linear(16, 4)
        with torch.no_grad():
            module.weight[:, 0] /= 3000
        return module

    def inputs(self, generator, rows):
        inputs = torch.randn(rows, 16, generator=generator)
        inputs[:, 0] *= 3000
        return (inputs,)


@pytest.mark.parametrize("technique", ["static_int8:minmax", "static_int8_fx"])
def test_opt_03_one_extreme_channel_ruins_a_step_for_all(technique, monkeypatch, tmp_path):
    pytest.importorskip("torchao")
    model = known(small("test_uneven", Uneven), monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, _ = apply(technique, model, tmp_path, module=module)
    inputs = model.split("evaluation").inputs[0]
    with torch.no_grad():
        alike = (optimized(inputs).argmax(1) == module(inputs).argmax(1)).float().mean()
    # Nothing is repaired in silence: it is what the accuracy gate is there to fail.
    assert alike < 0.9

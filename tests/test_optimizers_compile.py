"""torch.compile as an artifact: eager weights, compiled where they are loaded, shape by shape."""

from __future__ import annotations

import pytest
import torch
from optimizers_models import apply, known, largest_difference, outputs, saved, target

import optimizers
from gauge import evidence, recompiles
from optimizers import Refused, artifact, compiled
from optimizers.compile import GraphedModule
from optimizers.compiled import CompiledModule

if compiled.missing(target()):
    pytest.skip("there is no C++ compiler", allow_module_level=True)

pytestmark = [
    # torch says so of its transformer layers' own fused path, when they are given a padding mask.
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    # inductor's own code, and its use of what torch deprecates.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def test_reloaded_and_compiled_for_each_shape_it_gives_the_same(monkeypatch, tmp_path):
    model = known("test_linear", monkeypatch)
    torch.manual_seed(0)
    module = model.build().eval()
    optimized, (record,) = apply("compile", model, tmp_path, module=module)
    assert record["notes"]["build_seconds"] > 0
    measured = outputs(optimized, model)
    assert largest_difference(measured, outputs(module, model)) < 1e-5
    folder = saved(optimized, tmp_path)
    reloaded = artifact.load(folder, target())
    assert type(reloaded) is CompiledModule
    assert largest_difference(outputs(reloaded, model), measured) <= 1e-6
    assert sorted(reloaded.build_seconds) == ["((1, 8),)", "((3, 8),)", "((32, 8),)"]

    batch = target().cast(model.example(3))
    subject = evidence.Subject(reloaded, module, batch, folder, target())
    told = evidence.count(["compiled"], subject)["compiled"]
    assert told["found"], told["text"]
    assert told["numbers"]["graphs_a_call"] == 1
    assert told["numbers"]["graph_breaks"] == 0

    finish = recompiles.watch()
    with torch.no_grad():
        reloaded(*batch[0])
    reloaded(*batch[0])
    assert finish() is None


def test_more_shapes_than_dynamo_s_limit_stay_compiled(monkeypatch, tmp_path):
    model = known("test_linear", monkeypatch)
    torch.manual_seed(0)
    one = CompiledModule(model.build().eval())
    one.place(target())
    # Traces and guards like inductor, and builds nothing: the limit is dynamo's.
    one._call = torch.compile(one.module, dynamic=False, backend="aot_eager")
    for rows in range(1, 13):
        one(torch.ones(rows, 8))
    assert recompiles.counted().given_up == 0
    assert recompiles.counted().graphs == 12


def test_a_compiled_model_ends_a_pipeline(monkeypatch, tmp_path):
    monkeypatch.setattr("optimizers.compile.compile_once", lambda compiled, context: None)
    with pytest.raises(Refused, match="it can only be the last stage"):
        apply("compile+dynamic_int8", known("test_linear", monkeypatch), tmp_path)


def test_cuda_graphs_are_refused_on_the_cpu(monkeypatch):
    told = optimizers.get("cuda_graphs").refuses(known("test_linear", monkeypatch), target())
    assert told == "CUDA graphs need a CUDA device"


def test_results_of_a_replayed_graph_are_copies():
    kept = {"a": torch.ones(2), "b": (torch.zeros(1), None)}
    given = GraphedModule(torch.nn.Identity()).finished(kept)
    kept["a"].zero_()
    assert torch.equal(given["a"], torch.ones(2))
    assert given["b"][1] is None


def test_without_a_compiler_the_refusal_names_it(monkeypatch):
    from torch._inductor import cpp_builder, exc

    def none():
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    told = optimizers.get("compile").refuses(known("test_linear", monkeypatch), target())
    assert told is not None
    assert "needs a C++ compiler" in told

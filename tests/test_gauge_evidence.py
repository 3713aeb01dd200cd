"""Each claim on an artifact that holds it and on the untouched baseline, which must not.

Nothing of zoo or optimizers: the artifacts are made here with torch and onnxruntime themselves.
"""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from evidence_subjects import IMAGE, LINE, Eager, convs, found, linears, subject
from torch import nn
from torch.nn.utils import prune

from gauge import evidence, targets

CLAIMS = {
    "fewer_macs",
    "fewer_parameters",
    "half",
    "integer_kernels",
    "layout",
    "runtime",
    "unchanged",
    "zeros",
}


@pytest.fixture
def quantized():
    """int8(module, kinds): torch's own dynamic quantisation."""

    def int8(module, kinds):
        with warnings.catch_warnings():
            # torch announces the end of both; as long as it ships them they are used.
            warnings.simplefilter("ignore")
            return torch.ao.quantization.quantize_dynamic(module, kinds, dtype=torch.qint8)

    return int8


@pytest.fixture
def onnx_file(tmp_path):
    """write(module, x) exports to the one ONNX file of a directory, which it returns."""

    def write(module, x, name="model.onnx"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            torch.onnx.export(
                module, (x,), tmp_path / name, dynamo=False, input_names=["x"], opset_version=17
            )
        return tmp_path

    return write


class Session:
    """An artifact that onnxruntime runs; with `eager`, one that only holds such a session."""

    module = None

    def __init__(self, session, path, eager=None):
        self.session, self.path, self.eager = session, path, eager

    def __call__(self, x):
        if self.eager is not None:
            return self.eager(x)
        (answer,) = self.session.run(None, {"x": x.numpy()})
        return torch.from_numpy(answer)


def session(directory, name="model.onnx"):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = directory / name
    opened = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Session(opened, path)


def test_every_claim_is_known():
    assert set(evidence.known()) >= CLAIMS


def test_an_unknown_claim_is_not_found_and_the_known_ones_are_listed(tmp_path):
    ok, text, _ = found("smaler", Eager(linears()), linears(), LINE, tmp_path)
    assert not ok
    assert "gauge knows no claim 'smaler'" in text
    assert "integer_kernels" in text


def test_checking_a_claim_twice_is_refused():
    with pytest.raises(ValueError, match="'zeros' is checked twice"):
        evidence.claim("zeros")(lambda _: None)


@pytest.mark.parametrize("claim", sorted(CLAIMS - {"unchanged"}))
@pytest.mark.parametrize(("build", "x"), [(linears, LINE), (convs, IMAGE)], ids=["linear", "conv"])
def test_a_model_returned_untouched_fails_every_claim_but_unchanged(claim, build, x, tmp_path):
    if claim == "half":  # FP32 weights, asked for on a half-precision target
        target = "bf16_cpu"
        chosen = targets.get(target)
        untouched = evidence.Subject(Eager(build()), build(), ((x,), {}), tmp_path, chosen)
        assert not evidence.count([claim], untouched)[claim]["found"]
        return
    baseline = build()
    assert not found(claim, Eager(copy.deepcopy(baseline)), baseline, x, tmp_path)[0]


def test_unchanged_is_found_in_the_untouched_model_only(tmp_path, quantized):
    baseline = linears()
    assert found("unchanged", Eager(copy.deepcopy(baseline)), baseline, LINE, tmp_path)[0]
    altered = copy.deepcopy(baseline)
    with torch.no_grad():
        altered[2].bias[0] += 1e-6
    ok, text, numbers = found("unchanged", Eager(altered), baseline, LINE, tmp_path)
    assert (ok, numbers["identical"], numbers["of"]) == (False, 3, 4)
    assert "2.bias" in text
    swapped = copy.deepcopy(baseline)
    swapped[1] = nn.GELU()
    assert not found("unchanged", Eager(swapped), baseline, LINE, tmp_path)[0]
    int8 = quantized(copy.deepcopy(baseline), {nn.Linear})
    assert not found("unchanged", Eager(int8), baseline, LINE, tmp_path)[0]


def test_a_casted_copy_is_not_unchanged(tmp_path):
    baseline = linears()
    half = copy.deepcopy(baseline).bfloat16()
    assert not found("unchanged", Eager(half), baseline, LINE, tmp_path, "bf16_cpu")[0]


def test_integer_kernels_ran_in_the_converted_layers(tmp_path, quantized):
    baseline = linears()
    int8 = quantized(copy.deepcopy(baseline), {nn.Linear})
    ok, text, numbers = found("integer_kernels", Eager(int8), baseline, LINE, tmp_path)
    assert ok
    assert "2 of 2 layers" in text
    assert any("quantized" in name for name in numbers["kernels"])


def test_opt_02_dynamic_int8_of_convolutions_converts_nothing(tmp_path, quantized):
    baseline = convs()
    int8 = quantized(copy.deepcopy(baseline), {nn.Conv2d})
    ok, text, _ = found("integer_kernels", Eager(int8), baseline, IMAGE, tmp_path)
    assert not ok
    assert text.startswith("not applied: 0 of 2 layers converted")


def test_a_model_converted_in_part_tells_its_share(tmp_path, quantized):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.big = nn.Linear(64, 192)
            self.small = nn.Linear(192, 8)

        def forward(self, x):
            return self.small(self.big(x))

    baseline = Mixed().eval()
    int8 = copy.deepcopy(baseline)
    int8.small = quantized(nn.Sequential(int8.small), {nn.Linear})[0]
    ok, text, numbers = found("integer_kernels", Eager(int8), baseline, LINE, tmp_path)
    assert ok
    assert text.startswith("1 of 2 layers")
    assert 0.05 < numbers["share"] < 0.2


def test_integer_layers_that_never_ran_are_not_enough(tmp_path, quantized):
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 64)
            self.spare = nn.Linear(64, 64)

        def forward(self, x):
            return self.fc(x)

    baseline = Unused().eval()
    int8 = copy.deepcopy(baseline)
    int8.spare = quantized(nn.Sequential(int8.spare), {nn.Linear})[0]
    ok, text, _ = found("integer_kernels", Eager(int8), baseline, LINE, tmp_path)
    assert not ok
    assert "no integer kernel ran" in text


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_zeros_are_counted_exactly(tmp_path, share):
    baseline = linears()
    pruned = copy.deepcopy(baseline)
    for layer in (pruned[0], pruned[2]):
        prune.l1_unstructured(layer, "weight", amount=share)
        prune.remove(layer, "weight")
    ok, text, numbers = found("zeros", Eager(pruned), baseline, LINE, tmp_path)
    assert ok
    assert numbers["sparsity"] == pytest.approx(share, abs=1e-3)
    assert "in 2 of 2 layers" in text
    assert f"{share:.1%} zeros" in text


def test_opt_15_masks_that_still_live_are_not_found(tmp_path):
    baseline = linears()
    masked = copy.deepcopy(baseline)
    prune.l1_unstructured(masked[0], "weight", amount=0.5)
    ok, text, _ = found("zeros", Eager(masked), baseline, LINE, tmp_path)
    assert not ok
    assert text.startswith("pruning not finalised: 0.weight_")


def test_zeros_that_the_baseline_has_too_are_no_pruning(tmp_path):
    baseline = linears()
    with torch.no_grad():
        baseline[0].weight[:40] = 0
    ok, text, _ = found("zeros", Eager(copy.deepcopy(baseline)), baseline, LINE, tmp_path)
    assert not ok
    assert text.startswith("not applied")


def test_zeros_in_biases_and_norms_do_not_count(tmp_path):
    baseline = linears()
    emptied = copy.deepcopy(baseline)
    for layer in (emptied[0], emptied[2]):
        nn.init.zeros_(layer.bias)
    assert not found("zeros", Eager(emptied), baseline, LINE, tmp_path)[0]


def test_zeros_survive_into_an_onnx_file_and_their_absence_is_seen(tmp_path, onnx_file):
    baseline = linears()
    pruned = copy.deepcopy(baseline)
    for layer in (pruned[0], pruned[2]):
        prune.l1_unstructured(layer, "weight", amount=0.5)
        prune.remove(layer, "weight")
    folder = onnx_file(pruned, LINE)
    ok, _, numbers = found("zeros", session(folder), baseline, LINE, folder)
    assert (ok, round(numbers["sparsity"], 2)) == (True, 0.5)
    folder = onnx_file(baseline, LINE)
    assert not found("zeros", session(folder), baseline, LINE, folder)[0]


@pytest.mark.parametrize("target", ["bf16_cpu", "fp16_cpu"])
def test_half_is_found_in_weights_and_in_what_layers_return(tmp_path, target):
    baseline = linears()
    placed = targets.get(target).place(copy.deepcopy(baseline))
    ok, text, numbers = found("half", Eager(placed), baseline, LINE, tmp_path, target)
    assert ok
    assert (numbers["weights"], numbers["outputs"], numbers["of"]) == (1.0, 4, 4)
    assert targets.get(target).dtype in text


def test_half_weights_computed_in_full_precision_are_not_half(tmp_path):
    class Upcast(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(64, 64).bfloat16()
            self.act = nn.Identity()

        def forward(self, x):
            weight = self.inner.weight.float()
            return self.act(nn.functional.linear(x.float(), weight))

    ok, _, _ = found("half", Eager(Upcast()), linears(), LINE, tmp_path, "bf16_cpu")
    assert not ok


def test_the_other_half_format_is_not_this_one(tmp_path):
    placed = targets.get("fp16_cpu").place(linears())
    chosen = targets.get("bf16_cpu")
    wrong = evidence.Subject(Eager(placed), linears(), ((LINE.half(),), {}), tmp_path, chosen)
    assert not evidence.count(["half"], wrong)["half"]["found"]


def test_channels_last_weights_and_activations_are_found(tmp_path):
    baseline = convs()
    laid = copy.deepcopy(baseline).to(memory_format=torch.channels_last)
    ok, text, numbers = found("layout", Eager(laid), baseline, IMAGE, tmp_path)
    assert ok
    assert (numbers["weights"], numbers["of"]) == (2, 2)
    assert "2 of 2 convolution weights and 2 of 2 outputs" in text


def test_channels_last_weights_alone_are_not_enough(tmp_path):
    class Contiguous(nn.Conv2d):
        """Lays its output out again, as an operator without the layout would."""

        def forward(self, x):
            return super().forward(x.contiguous()).contiguous()

    baseline = nn.Sequential(Contiguous(3, 16, 3), Contiguous(16, 16, 3)).eval()
    laid = copy.deepcopy(baseline).to(memory_format=torch.channels_last)
    ok, _, numbers = found("layout", Eager(laid), baseline, IMAGE, tmp_path)
    assert not ok
    assert (numbers["weights"], numbers["outputs"]) == (2, 0)


def test_a_model_without_convolutions_has_no_layout(tmp_path):
    laid = linears().to(memory_format=torch.channels_last)
    assert not found("layout", Eager(laid), linears(), LINE, tmp_path)[0]


def test_a_quantised_model_is_not_credited_with_fewer_macs(tmp_path, quantized):
    # Its layers are no parameters and no operators that torch's counters know: 0 is not fewer.
    baseline = linears()
    int8 = quantized(copy.deepcopy(baseline), {nn.Linear})
    for claim in ("fewer_parameters", "fewer_macs"):
        assert not found(claim, Eager(int8), baseline, LINE, tmp_path)[0]


def test_runtime_names_the_provider_and_counts_operators(tmp_path, onnx_file):
    folder = onnx_file(linears(), LINE)
    ok, text, numbers = found("runtime", session(folder), linears(), LINE, folder)
    assert ok
    assert "CPUExecutionProvider" in text
    assert sum(numbers["operators"].values()) >= 2


def test_opt_08_a_session_on_the_cpu_does_not_pass_for_cuda(tmp_path, onnx_file):
    folder = onnx_file(linears(), LINE)
    chosen = targets.get("cuda")
    cpu = evidence.Subject(session(folder), linears(), ((LINE,), {}), folder, chosen)
    one = evidence.count(["runtime"], cpu)["runtime"]
    assert not one["found"]
    assert "CUDAExecutionProvider" in one["text"]


def test_integer_operators_are_counted_in_the_graph_that_runs(tmp_path, onnx_file):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = onnx_file(linears(), LINE, "float.onnx")
    quantize_dynamic(folder / "float.onnx", folder / "model.onnx", weight_type=QuantType.QInt8)
    (folder / "float.onnx").unlink()
    ok, text, numbers = found("integer_kernels", session(folder), linears(), LINE, folder)
    assert ok
    assert sum(numbers["kernels"].values()) == 2
    assert "2 of 2" in text


def test_a_graph_in_floating_point_has_no_integer_kernels(tmp_path, onnx_file):
    folder = onnx_file(linears(), LINE)
    ok, text, _ = found("integer_kernels", session(folder), linears(), LINE, folder)
    assert not ok
    assert text.startswith("not applied: 0 of 2")


def test_claims_about_modules_are_not_found_in_a_session(tmp_path, onnx_file):
    folder = onnx_file(linears(), LINE)
    for claim in sorted({"fewer_macs", "fewer_parameters", "half", "layout", "unchanged"}):
        assert not found(claim, session(folder), linears(), LINE, folder)[0]


def test_a_fault_inside_a_check_is_raised_not_turned_into_not_found(tmp_path):
    class Breaks(nn.Module):
        def forward(self, x):
            raise RuntimeError("no kernel")

    broken = nn.Sequential(nn.Conv2d(3, 4, 3), Breaks())
    with pytest.raises(RuntimeError, match="no kernel"):
        found("layout", Eager(broken), convs(), IMAGE, tmp_path)


@pytest.mark.parametrize("claim", ["runtime", "integer_kernels"])
def test_a_runtime_that_is_loaded_and_not_used_is_not_found(claim, onnx_file, tmp_path):
    baseline = linears()
    folder = onnx_file(baseline, LINE)
    idle = session(folder)
    idle.eager = copy.deepcopy(baseline)
    ok, text, numbers = found(claim, idle, baseline, LINE, folder)
    assert not ok
    assert "eager torch multiplied by weights 2 times in a call" in text
    assert numbers == {"eager": 2}


class Pretends(nn.Linear):
    """By its place a quantised layer; an integer operator runs, and the work is in FP32."""

    def forward(self, x):
        aside = torch.quantize_per_tensor(x[:1], 0.1, 0, torch.quint8)
        torch.ops.quantized.add(aside, aside, 0.1, 0)
        return super().forward(x)


def test_layers_that_compute_in_fp32_beside_an_integer_operator_are_not_found(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(Pretends, "__module__", "torch.ao.nn.quantized.modules.linear")
    baseline = linears()
    fake = nn.Sequential(Pretends(64, 64), nn.ReLU(), Pretends(64, 64), nn.ReLU()).eval()
    ok, text, _ = found("integer_kernels", Eager(fake), baseline, LINE, tmp_path)
    assert not ok
    assert "2 layers ran in floating point" in text


@pytest.mark.parametrize("moved", ["running_mean", "running_var"])
def test_either_statistic_of_batchnorm_that_moved_is_told(moved, tmp_path):
    torch.manual_seed(0)
    baseline = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    baseline[1].running_mean.uniform_(-1, 1)
    baseline[1].running_var.uniform_(0.5, 2)
    same = copy.deepcopy(baseline)
    assert found("bn_unchanged", Eager(same), baseline, IMAGE, tmp_path)[0]
    getattr(same[1], moved).mul_(1.01)
    ok, text, _ = found("bn_unchanged", Eager(same), baseline, IMAGE, tmp_path)
    assert not ok
    assert "0 of 1 BatchNorms bit-identical" in text


def test_batchnorm_is_held_against_what_the_last_stage_began_with(tmp_path):
    """What an earlier stage trained is no calibration that went wrong."""
    torch.manual_seed(0)
    baseline = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    baseline[1].running_mean.uniform_(-1, 1)
    trained = copy.deepcopy(baseline)
    trained[1].running_mean.add_(1.5)
    one = subject(Eager(copy.deepcopy(trained)), baseline, IMAGE, tmp_path)
    assert not evidence.count(["bn_unchanged"], one)["bn_unchanged"]["found"]
    one.start = trained
    assert evidence.count(["bn_unchanged"], one)["bn_unchanged"]["found"]
    one.start = baseline
    assert not evidence.count(["bn_unchanged"], one)["bn_unchanged"]["found"]

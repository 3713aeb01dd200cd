"""Real problems from bug reports, each through the real path: model, technique, gates, verdict."""

from __future__ import annotations

import pytest
from running import PLUGINS, Ran, suites

MODELS = (
    "dict_output tuple_output dataclass_output several_inputs reads_batch no_export "
    "convolutions_only overflows_in_half extreme_feature"
).split()
TECHNIQUES = (
    "none dynamic_int8 onnxruntime onnxruntime_int8 dynamic_convolutions openvino static_int8_fx "
    "weight_only_int8"
).split()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("cases")
    words = [word for name in MODELS for word in ("--model", name)]
    words += [word for name in TECHNIQUES for word in ("--technique", name)]
    return suites(
        folder / "out",
        folder / "cache",
        f"--plugin={PLUGINS / 'cases.py'}",
        "--target=cpu",
        "--target=fp16_cpu",
        "-k",
        "not speed and not memory",
        *words,
    )


def test_opt_02_convolutions_left_alone_are_told_as_not_applied(ran):
    verdicts = ran.verdicts("convolutions_only-dynamic_convolutions-cpu")
    assert verdicts["accuracy"]["value"] == 0
    assert verdicts["evidence"]["status"] == "FAIL"
    assert "not applied: 0 of 2 layers converted" in verdicts["evidence"]["reason"]


def test_opt_02_the_project_s_own_technique_refuses_them(ran):
    record = ran.verdicts("convolutions_only-dynamic_int8-cpu")["evidence"]
    assert record["status"] == "REFUSED"
    assert "no Linear or LSTM layer to quantise" in record["reason"]


@pytest.mark.parametrize(
    ("technique", "layer"), [("dynamic_int8", "head"), ("onnxruntime_int8", "node_linear_1")]
)
def test_opt_03_the_layer_that_one_extreme_feature_ruins_is_named(ran, technique, layer):
    for gate in ("accuracy", "fidelity"):
        record = ran.verdicts(f"extreme_feature-{technique}-cpu")[gate]
        assert record["status"] == "FAIL"
        assert f"{layer} adds most of {technique}'s noise" in record["reason"]
    assert ran.verdicts("extreme_feature-none-cpu")["accuracy"]["status"] == "PASS"


@pytest.mark.parametrize("technique", ["onnxruntime", "openvino"])
def test_opt_11_an_operator_without_onnx_form_is_named_and_not_measured(ran, technique):
    verdicts = ran.verdicts(f"no_export-{technique}-cpu")
    assert {one["status"] for one in verdicts.values()} == {"REFUSED"}
    reason = verdicts["accuracy"]["reason"]
    for part in ("linalg_qr", "exporter", "opset"):
        assert part in reason
    assert ran.verdicts("no_export-none-cpu")["accuracy"]["status"] == "PASS"


@pytest.mark.parametrize(
    "technique",
    ["dynamic_int8", "onnxruntime", "onnxruntime_int8", "openvino", "weight_only_int8"],
)
def test_opt_12_integers_masks_and_unused_arguments_pass_through(ran, technique):
    verdicts = ran.verdicts(f"several_inputs-{technique}-cpu")
    assert verdicts["evidence"]["status"] == "PASS", verdicts["evidence"]["reason"]
    assert verdicts["reload"]["status"] == "PASS", verdicts["reload"]["reason"]


@pytest.mark.parametrize("technique", ["onnxruntime", "openvino", "static_int8_fx"])
def test_opt_10_a_batch_read_as_a_number_works_at_every_size_or_is_told(ran, technique):
    record = ran.verdicts(f"reads_batch-{technique}-cpu")["reload"]
    if record["status"] == "PASS":
        assert set(record["evidence"]["batches"]) == {"1", "3", "32"}
    else:
        assert "batch" in record["reason"]


def test_opt_20_what_overflows_in_half_fails_whatever_the_accuracy_says(ran):
    assert ran.verdicts("overflows_in_half-none-cpu")["accuracy"]["status"] == "PASS"
    record = ran.verdicts("overflows_in_half-none-fp16_cpu")["accuracy"]
    assert record["status"] == "FAIL"
    assert "non-finite outputs 3200 of 3200" in record["reason"]
    assert "layer wide" in record["reason"]


def test_opt_22_what_half_does_not_support_is_refused_by_operator(ran):
    record = ran.verdicts("no_export-none-fp16_cpu")["accuracy"]
    assert record["status"] == "REFUSED"
    assert "linalg.qr" in record["reason"]


@pytest.mark.parametrize("model", ["dict_output", "tuple_output", "dataclass_output"])
def test_opt_34_outputs_in_containers_are_compared_tensor_by_tensor(ran, model):
    for technique in ("none", "dynamic_int8", "weight_only_int8"):
        verdicts = ran.verdicts(f"{model}-{technique}-cpu")
        assert verdicts["reload"]["status"] == "PASS", verdicts["reload"]["reason"]
        assert verdicts["accuracy"]["value"] is not None


@pytest.mark.parametrize("technique", ["onnxruntime", "openvino"])
def test_opt_34_what_a_file_cannot_give_back_is_refused_with_the_reason(ran, technique):
    record = ran.verdicts(f"dataclass_output-{technique}-cpu")["accuracy"]
    assert record["status"] == "REFUSED"
    assert "tuples, lists and dicts" in record["reason"]
    assert ran.verdicts(f"dict_output-{technique}-cpu")["reload"]["status"] == "PASS"


def test_a_model_of_a_kilobyte_is_not_failed_for_its_description(ran):
    assert ran.verdicts("dict_output-none-cpu")["size"]["status"] == "PASS"

"""Outputs of every shape: flattened, joined, compared by path; NaN found and traced to a layer."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gauge import outputs

Pair = namedtuple("Pair", "logits hidden")


@dataclass(frozen=True)
class Frozen:
    logits: Any
    hidden: Any = None


@dataclass
class Derived:
    logits: Any
    kind: str = field(init=False, default="x")


def model_output():
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(
        last_hidden_state=torch.ones(2, 3), hidden_states=(torch.zeros(2, 3), torch.ones(2, 1))
    )


CASES = [
    (torch.ones(2), ["output"]),
    ({"logits": torch.ones(2)}, ["output.logits"]),
    ({0: torch.ones(2)}, ["output[0]"]),
    ((torch.ones(2), None), ["output[0]"]),
    ([torch.ones(2), (torch.ones(1), {"h": torch.ones(3)})], None),
    (Pair(torch.ones(2), torch.ones(3)), ["output[0]", "output[1]"]),
    (Frozen(torch.ones(2), [torch.ones(1)]), ["output.logits", "output.hidden[0]"]),
    (Frozen(torch.ones(2)), ["output.logits"]),
    (OrderedDict(b=torch.ones(1), a=torch.ones(1)), ["output.b", "output.a"]),
    (defaultdict(list, a=torch.ones(2)), ["output.a"]),
    ((torch.ones(2), 3.5, True, np.ones(2, np.float32)), None),
    (
        model_output(),
        ["output.last_hidden_state", "output.hidden_states[0]", "output.hidden_states[1]"],
    ),
]


@pytest.mark.parametrize(("value", "paths"), CASES, ids=lambda v: type(v).__name__)
def test_every_container_is_flattened_copied_and_compared(value, paths):
    flat = outputs.flatten(value)
    if paths is not None:
        assert list(flat) == paths
    copied = outputs.fresh(value)
    assert type(copied) is type(value)
    assert list(outputs.flatten(copied)) == list(flat)
    assert outputs.compare(value, copied) == outputs.Difference()


@pytest.mark.parametrize(("value", "paths"), CASES, ids=lambda v: type(v).__name__)
def test_join_keeps_type_and_structure_and_adds_up_the_rows(value, paths):
    joined = outputs.join([value, value, value])
    assert type(joined) is type(value)
    flat, whole = outputs.flatten(value), outputs.flatten(joined)
    assert list(whole) == list(flat)
    for path, tensor in flat.items():
        rows = tensor.shape[0] if tensor.ndim else 1
        assert whole[path].shape[0] == 3 * rows
        assert whole[path].dtype == tensor.dtype


def test_join_of_one_output_keeps_it():
    value = {"a": torch.arange(6).reshape(2, 3)}
    assert torch.equal(outputs.join([value])["a"], value["a"])


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_join_is_the_inverse_of_cutting_into_batches(sizes):
    whole = Frozen(torch.randn(sum(sizes), 2), (torch.arange(sum(sizes)),))
    parts, start = [], 0
    for size in sizes:
        rows = slice(start, start + size)
        parts.append(Frozen(whole.logits[rows], (whole.hidden[0][rows],)))
        start += size
    assert outputs.compare(whole, outputs.join(parts)) == outputs.Difference()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "no outputs"),
        ([{"a": torch.ones(1)}, {"b": torch.ones(1)}], "output differs in structure"),
        ([{"a": torch.ones(1)}, {"a": [torch.ones(1)]}], r"output\.a is a tensor in some"),
        ([(torch.ones(2, 3),), (torch.ones(2, 4),)], r"output\[0\]: shapes"),
    ],
)
def test_what_does_not_join_is_told_with_its_path(parts, words):
    with pytest.raises(ValueError, match=words):
        outputs.join(parts)


def test_something_that_is_no_tensor_is_named_with_its_path():
    with pytest.raises(TypeError, match=r"output\.text\[0\] is a str"):
        outputs.flatten({"text": ["hello"]})


def test_fresh_shares_no_storage():
    original = ((torch.zeros(3),), {"mask": torch.zeros(2)})
    args, kwargs = outputs.fresh(original)
    args[0].add_(1)
    kwargs["mask"].add_(1)
    assert original[0][0].sum() == original[1]["mask"].sum() == 0


def test_the_difference_is_a_share_of_each_tensor_s_own_largest_value():
    reference = {"big": torch.tensor([1000.0, 0.0]), "small": torch.tensor([1.0, 0.5])}
    other = {"big": torch.tensor([1000.0, 1.0]), "small": torch.tensor([1.0, 0.6])}
    found = outputs.compare(reference, other)
    assert found.path == "output.small"
    assert found.relative == pytest.approx(0.1)
    assert found.within(0.11)
    assert not found.within(0.09)


def test_a_tensor_of_zeros_is_told_against_the_largest_of_all():
    reference = (torch.zeros(2), torch.tensor([-4.0]))
    found = outputs.compare(reference, (torch.tensor([0.0, 1.0]), torch.tensor([-4.0])))
    assert found.relative == 0.25
    assert outputs.compare(torch.zeros(2), torch.ones(2)).relative == 1.0


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ((torch.ones(2, 3),), "without output[1]"),
        ((torch.ones(2, 3), torch.ones(2), torch.ones(1)), "with an extra output[2]"),
        ((torch.ones(2, 1), torch.ones(2)), "output[0] has shape [2, 1] instead of [2, 3]"),
        ((torch.ones(2, 3), torch.ones(2).int()), "output[1] is torch.int32"),
        ({"a": torch.ones(2, 3), "b": torch.ones(2)}, "structure differs"),
    ],
)
def test_another_structure_shape_or_kind_is_a_problem(other, words):
    found = outputs.compare((torch.ones(2, 3), torch.ones(2)), other)
    assert words in found.problem
    assert not found.within(1e9)


def test_half_precision_and_a_list_for_a_tuple_are_no_problem():
    found = outputs.compare((torch.ones(2),), [torch.ones(2).half()])
    assert found == outputs.Difference()


def test_unsigned_numbers_do_not_wrap():
    found = outputs.compare(torch.tensor([10], dtype=torch.uint8), torch.tensor([12]).byte())
    assert found.relative == pytest.approx(0.2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_in_one_only_is_a_problem_and_in_both_is_equal(bad):
    clean, dirty = torch.tensor([1.0, 2.0]), torch.tensor([1.0, bad])
    found = outputs.compare(clean, dirty)
    assert found.problem == "output: 1 of 2 values are NaN or infinite in one only"
    assert (found.nonfinite, found.relative) == (1, 0.0)
    assert outputs.compare(dirty, clean).problem
    assert outputs.compare(dirty, dirty.clone()) == outputs.Difference(nonfinite=1)


def test_infinities_of_other_sign_differ():
    assert outputs.compare(torch.tensor([float("inf")]), torch.tensor([-float("inf")])).problem


# torch means to drop its quantised tensors; as long as it has them, models return them.
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_and_sparse_outputs_are_compared_by_value():
    plain = torch.tensor([0.0, 1.0, 2.0])
    assert outputs.compare(plain, plain.to_sparse()) == outputs.Difference()
    quantised = torch.quantize_per_tensor(plain, 0.5, 0, torch.qint8)
    assert outputs.compare(plain, quantised).relative == 0.0


def test_nonfinite_counts_values_of_all_tensors():
    value = {"a": torch.tensor([float("nan"), 1.0]), "b": [torch.tensor([float("inf")]), 2]}
    assert outputs.nonfinite(value) == (2, 4)
    assert outputs.nonfinite(torch.ones(3)) == (0, 3)


def overflowing():
    """Finite in FP32; in half precision the second layer overflows and the norm makes NaN."""
    model = nn.Sequential(
        OrderedDict(calm=nn.Identity(), huge=nn.Linear(8, 8), norm=nn.LayerNorm(8))
    )
    nn.init.constant_(model.huge.weight, 100.0)
    return model


def test_opt_20_the_first_bad_layer_is_named():
    batch = ((torch.full((1, 8), 100.0),), {})
    assert outputs.first_nonfinite_layer(overflowing(), batch) is None
    half = ((batch[0][0].half(),), {})
    assert outputs.first_nonfinite_layer(overflowing().half(), half) == "huge"


def test_opt_20_the_innermost_layer_is_named_and_the_hooks_are_gone():
    model = nn.Sequential(nn.Sequential(overflowing())).half()
    half = ((torch.full((1, 8), 100.0).half(),), {})
    assert outputs.first_nonfinite_layer(model, half) == "0.0.huge"
    assert not any(layer._forward_hooks for layer in model.modules())


def test_a_model_that_is_itself_the_layer_is_named_by_its_type():
    half = ((torch.full((1, 8), 100.0).half(),), {})
    assert outputs.first_nonfinite_layer(overflowing().huge.half(), half) == "Linear"

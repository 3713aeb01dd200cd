"""The catalogue: names from source, without importing; every error has its file and line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from suites import catalog
from suites.catalog import CatalogError

MODEL = """
import zoo

@zoo.register
class Mine(zoo.Model):
    name = "mine"

    def build(self): ...
    def split(self, name): ...
"""

TECHNIQUE = """
import optimizers

@optimizers.register
class Mine(optimizers.Technique):
    name = "my_technique"
    family = "mine"
    variants = ({"amount": 0.5}, {"amount": 0.9})

    def apply(self, module, context): ...
"""


def write(folder: Path, text: str, name: str = "plug.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_project_s_own_files_agree_with_what_importing_gives(root):
    code = """
import json, optimizers, zoo
from gauge import targets
keys = ("changes", "family", "claims", "variants", "lossless")
print(json.dumps({
    "models": sorted(zoo.names()),
    "techniques": {n: {k: getattr(optimizers.get(n), k) for k in keys} for n in optimizers.names()},
    "targets": {n: {k: getattr(targets.get(n), k) for k in
                    ("device", "dtype", "baseline", "cpu_twin", "standard")}
                for n in targets.names()},
}))
"""
    import json

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    real = json.loads(done.stdout)
    read = catalog.read()
    assert sorted(read.models) == real["models"]
    assert sorted(read.techniques) == sorted(real["techniques"])
    assert sorted(read.targets) == sorted(real["targets"])
    for table, kind in ((read.techniques, "techniques"), (read.targets, "targets")):
        for name, definition in table.items():
            for key, value in real[kind][name].items():
                assert json.loads(json.dumps(definition.attributes[key])) == value, (name, key)


def test_evaluation_samples_are_as_many_as_the_split_has(root):
    code = """
import zoo
for name in zoo.names():
    model = zoo.get(name)
    if model.evaluation_samples is not None and model.refuses() is None:
        assert model.evaluation_samples == len(model.split("evaluation")), name
"""
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_a_plug_in_is_read_and_not_run(tmp_path):
    path = write(tmp_path, MODEL + TECHNIQUE + "\nraise SystemExit('must not run')\n")
    read = catalog.read([path])
    assert read.models["mine"].line == 5
    assert read.techniques["my_technique"].attributes["variants"][1] == {"amount": 0.9}
    assert read.techniques["my_technique"].plugin


def test_a_family_is_one_model_a_variant(tmp_path):
    text = MODEL.replace('name = "mine"', 'name = "mine"\n    variants = ("a", "b")')
    assert {"mine:a", "mine:b"} <= set(catalog.read([write(tmp_path, text)]).models)


def test_attributes_come_from_a_base_class_of_the_same_file(tmp_path):
    text = TECHNIQUE.replace("@optimizers.register\n", "").replace("Mine(", "Base(") + (
        '\n@optimizers.register\nclass Child(Base):\n    name = "child"\n'
    )
    read = catalog.read([write(tmp_path, text)])
    assert read.techniques["child"].attributes["family"] == "mine"


def test_a_target_is_registered_like_the_rest(tmp_path):
    text = (
        "from gauge import targets\n\n@targets.register\nclass Stub(targets.Target):\n"
        '    name = "stub"\n    device = "stub"\n'
    )
    assert catalog.read([write(tmp_path, text)]).targets["stub"].attributes["device"] == "stub"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", r"plug\.py:1: not valid Python"),
        ("x = 1\n", "registers nothing"),
        (
            MODEL.replace('"mine"', '"digits_mlp"'),
            r"plug\.py:5: model 'digits_mlp' is registered "
            r"twice; it is already registered at .*digits_mlp\.py:\d+",
        ),
        (MODEL + MODEL.replace("class Mine", "class Other"), "registered twice"),
        (
            MODEL.replace('name = "mine"', "name = str(1)"),
            r"plug\.py:6: name of class Mine is comp",
        ),
        (
            MODEL.replace('    name = "mine"\n', ""),
            r"plug\.py:5: model class Mine has no literal n",
        ),
        (MODEL.replace("mine", "a/../b"), "found the name 'a/../b'; expected letters"),
        (
            MODEL.replace("    def build(self): ...\n", ""),
            r"has no method build\(\); every model "
            r"needs build\(\) and split\(\)",
        ),
        (
            TECHNIQUE.replace("    def apply(self, module, context): ...\n", ""),
            r"has no method apply\(\); every technique needs apply\(\)",
        ),
        (
            TECHNIQUE.replace("    name =", '    suite = "training"\n    name ='),
            r'has no method precision\(\); every technique with suite = "training" needs',
        ),
        (
            TECHNIQUE.replace("    name =", '    suite = "train"\n    name ='),
            r"suite = 'train'; expected one of 'gates', 'training'",
        ),
        (TECHNIQUE.replace('    family = "mine"\n', ""), "has no family; write family ="),
        (
            TECHNIQUE.replace("family =", 'changes = "weights"\n    family ='),
            "changes = 'weights'; expected one of 'numerics', 'structure', 'architecture'",
        ),
        (TECHNIQUE.replace('{"amount": 0.9}', '{"ratio": 0.9}'), "different parameters"),
        (TECHNIQUE.replace('({"amount": 0.5}, {"amount": 0.9})', "0.5"), "a tuple of dicts"),
    ],
)
def test_a_bad_plug_in_is_told_with_file_and_line(tmp_path, text, said):
    with pytest.raises(CatalogError, match=said):
        catalog.read([write(tmp_path, text)])


def test_a_plug_in_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(CatalogError, match=r"nowhere\.py: no such file"):
        catalog.read([tmp_path / "nowhere.py"])
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match=r"binary\.py"):
        catalog.read([tmp_path / "binary.py"])


@pytest.mark.parametrize("kind", ["models", "techniques", "targets"])
def test_the_readme_names_everything_there_is(kind, root):
    text = (root / "README.md").read_text()
    for name in getattr(catalog.read(), kind):
        assert f"`{name.partition(':')[0]}" in text, name

"""[require] in policy.toml: which cells and gates a release must have measured."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.names import glob_matches, names_match
from gauge.policy import CellFacts, Known, Policy, PolicyError
from gauge.policy_require import Required, names_a_gate
from gauge.verdict import ALWAYS_GATES, BATCH_GATES, GATES, TRAINING_GATES

MODELS = ["resnet18", "vit", "imagenet:resnet50"]
TECHNIQUES = ["none", "prune:0.5", "prune:0.7", "static_int8", "prune:0.5+static_int8"]
TARGETS = ["cpu", "cuda", "fp16_cpu"]
KNOWN = Known(MODELS, TECHNIQUES, ["pruning"], TARGETS)
DECLARED = [
    CellFacts(model, technique, "pruning", "B", target)
    for model, technique, target in itertools.product(MODELS, TECHNIQUES, TARGETS)
]

ENTRY = """
[[require]]
models = ["resnet18", "v*"]
techniques = ["prune"]
targets = "cpu"
gates = ["accuracy", "speed"]
reason = "what we ship"
"""


def read(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return Policy.read(path, KNOWN)


def required(models=("*",), techniques=("*",), targets=("*",), gates=("*",)):
    return Required("policy.toml:1", "r", models, techniques, targets, gates)


def test_an_entry_covers_its_models_times_techniques_times_targets(tmp_path):
    (entry,) = read(tmp_path, ENTRY).required
    cells, absent = entry.cells(DECLARED)
    assert [str(cell) for cell in cells] == [
        f"{model}-prune:{amount}-cpu" for model in ("resnet18", "vit") for amount in (0.5, 0.7)
    ]
    assert not absent
    assert entry.questions([1]) == [("accuracy", None), ("speed", 1)]
    assert (entry.source, entry.reason) == ("policy.toml:2", "what we ship")


def test_one_entry_may_be_a_table_of_its_own(tmp_path):
    (entry,) = read(tmp_path, ENTRY.replace("[[require]]", "[require]")).required
    assert entry.source == "policy.toml:2"
    with pytest.raises(PolicyError, match=r"policy\.toml:4: found techniques 'prume', unknown"):
        read(tmp_path, ENTRY.replace("[[require]]", "[require]").replace('"prune"', '"prume"'))


def test_a_combination_that_covers_no_cell_is_told():
    entry = required(models=("resnet18", "vit"), techniques=("none", "static_int8+none"))
    cells, absent = entry.cells(DECLARED)
    assert len(cells) == 2 * 3
    assert absent == ["resnet18 × static_int8+none × *", "vit × static_int8+none × *"]


@pytest.mark.parametrize(
    ("gates", "asked"),
    [
        (("size",), [("size", None)]),
        (("speed",), [("speed", 1), ("speed", 8)]),
        (("speed-b32", "accuracy"), [("accuracy", None), ("speed", 32)]),
        (("*-b2",), [("speed", 2), ("memory", 2)]),
        (("s*",), [("size", None), ("speed", 1), ("speed", 8)]),
    ],
)
def test_gates_are_asked_at_the_gated_batches_or_at_the_one_named(gates, asked):
    assert required(gates=gates).questions([1, 8]) == asked


@pytest.mark.parametrize(
    ("old", "new", "line", "found", "expected"),
    [
        ('"resnet18"', '"resnet81"', 3, "models 'resnet81', unknown", "did you mean 'resnet18'?"),
        ('"v*"', '"w*"', 3, "models 'w*', that matches no name", "one of"),
        ('["prune"]', '["prunes"]', 4, "techniques 'prunes', unknown", "optional = true"),
        ('"cpu"', '"gpu"', 5, "targets 'gpu', unknown", "cpu, cuda, fp16_cpu"),
        ('"accuracy"', '"acuracy"', 6, "gates 'acuracy', unknown", "did you mean 'accuracy'?"),
        ('"accuracy"', '"size-b1"', 6, "gates 'size-b1', unknown", "one of"),
        ('"accuracy"', '"speed-b0"', 6, "gates 'speed-b0', unknown", "speed-b1"),
        ('["prune"]', "[]", 4, "techniques = []", "at least one"),
        ('["prune"]', "[3]", 4, "3 in techniques", "a string that is not empty"),
        ('["prune"]', '[" "]', 4, "' ' in techniques", "a string that is not empty"),
        ('["prune"]', "3", 4, "techniques = 3", "an array of strings"),
        ('targets = "cpu"\n', "", 2, "a require without targets", "an array of strings"),
        ("models =", "model =", 3, "unknown key 'model' in [[require]]", "'models'"),
        ('reason = "what we ship"', "", 2, "a require without reason", "a string"),
        ('reason = "what we ship"', "reason = 'r'\nbatch = 1", 8, "unknown key 'batch'", "gates"),
        ("[[require]]", "[[requires]]", 2, "'requires'", "did you mean 'require'?"),
    ],
)
def test_a_mistake_has_a_line_and_says_what_to_write(tmp_path, old, new, line, found, expected):
    with pytest.raises(PolicyError) as caught:
        read(tmp_path, ENTRY.replace(old, new))
    assert caught.value.line == line
    assert found in caught.value.found
    assert expected in caught.value.expected


def test_an_optional_entry_may_name_what_a_plug_in_brings_but_no_gate(tmp_path):
    text = ENTRY.replace('"prune"', '"mine"') + "optional = true\n"
    assert read(tmp_path, text).required[0].techniques == ("mine",)
    with pytest.raises(PolicyError, match="gates 'mine'"):
        read(tmp_path, text.replace('"speed"', '"mine"'))


patterns = st.lists(
    st.sampled_from([*MODELS, "resnet*", "*", "v?t", "x"]), min_size=1, max_size=3, unique=True
)
techniques = st.lists(
    st.sampled_from([*TECHNIQUES, "prune", "prune*", "*+*", "y"]), min_size=1, unique=True
)
targets = st.lists(st.sampled_from([*TARGETS, "*cpu", "c*"]), min_size=1, unique=True)


@given(patterns, techniques, targets, st.sets(st.sampled_from(DECLARED)))
def test_cells_and_what_is_absent_are_those_of_trying_each_combination(one, two, three, cells):
    declared = sorted(cells, key=str)
    found, absent = required(tuple(one), tuple(two), tuple(three)).cells(declared)
    covered, missing = set(), []
    for model, technique, target in itertools.product(one, two, three):
        hits = {
            cell
            for cell in declared
            if names_match(model, cell.model)
            and names_match(technique, cell.technique)
            and glob_matches(target, cell.target)
        }
        covered |= hits
        if not hits:
            missing.append(f"{model} × {technique} × {target}")
    assert set(found) == covered
    assert len(found) == len(covered)
    assert absent == missing


@pytest.mark.parametrize(
    ("pattern", "gates"),
    [
        ("*", ALWAYS_GATES),
        ("re*", ("reload",)),
        ("regression", ("regression",)),
        ("training_*", TRAINING_GATES),
    ],
)
def test_a_star_asks_for_what_every_run_asks(pattern, gates):
    asked = required(gates=(pattern,)).questions([1])
    assert tuple(gate for gate, _ in asked) == gates


gates = st.one_of(
    st.sampled_from(["*", "s*", "?peed", "speed-b2", "*-b2", "size-b1", "speed-b01", "speed-b*"]),
    st.sampled_from(GATES),
    st.text("speedmory*-b123", max_size=9),
)


@given(st.lists(gates, min_size=1), st.lists(st.integers(1, 99), min_size=1, unique=True))
def test_every_question_is_a_gate_with_a_batch_where_it_has_one(named, gated):
    asked = required(gates=tuple(named)).questions(gated)
    assert len(set(asked)) == len(asked)
    assert all((batch is not None) == (gate in BATCH_GATES) for gate, batch in asked)
    assert bool(asked) == any(names_a_gate(pattern) for pattern in named)
    for pattern in named:
        if pattern in GATES and pattern not in BATCH_GATES:
            assert (pattern, None) in asked

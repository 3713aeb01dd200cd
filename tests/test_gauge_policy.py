"""Which limit and which waiver a cell is held to."""

import itertools
import random
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.policy import CellFacts, Known, Limit, NoExpectation, Policy, PolicyError
from gauge.policy_entry import LimitEntry, Match, most_specific

MODELS = ["resnet18", "vit"]
TECHNIQUES = ["none", "prune:0.5", "static_int8", "prune:0.5+static_int8"]
KNOWN = Known(MODELS, TECHNIQUES, ["pruning", "quantisation"], ["cpu", "cuda", "fp16_cpu"])


def cell(model="resnet18", technique="prune:0.5", family="pruning", cls="B", target="cpu"):
    return CellFacts(model, technique, family, cls, target)


@pytest.fixture
def read(tmp_path):
    def reader(text):
        path = tmp_path / "policy.toml"
        path.write_text(textwrap.dedent(text))
        return Policy.read(path, KNOWN)

    return reader


def limits(*entries):
    return "\n".join(f"[[limit]]\ngate = 'speed'\nreason = 'r'\n{entry}" for entry in entries)


def speed(policy, capabilities=(), batch=1, **facts):
    return policy.limit(cell(**facts), "speed", batch, capabilities)


@pytest.mark.parametrize(
    ("gate", "way", "bound"),
    [
        ("accuracy", "max", 0.01),
        ("speed", "min", 1.0),
        ("size", "max", 1.05),
        ("memory", "max", 1.1),
    ],
)
def test_an_empty_file_means_the_documented_defaults(read, gate, way, bound):
    limit = read("").limit(cell(), gate, 1)
    assert limit.as_dict() == {
        "min": None,
        "max": None,
        way: bound,
        "source": "default",
        "reason": None,
    }
    assert limit.bound == bound


def test_fidelity_has_no_default(read):
    found = read("").limit(cell(), "fidelity")
    assert found == NoExpectation("the policy has no fidelity limit for this cell")


def test_another_architecture_has_no_fidelity_to_keep(read):
    policy = read("[[limit]]\ngate = 'fidelity'\nmin = 0.9\nreason = 'r'")
    assert policy.limit(cell(), "fidelity").min == 0.9
    assert isinstance(policy.limit(cell(cls="C"), "fidelity"), NoExpectation)


@pytest.mark.parametrize("gate", ["evidence", "reload", "sped"])
def test_gates_without_limits_are_no_question_to_a_policy(read, gate):
    with pytest.raises(ValueError, match="is not judged by a limit"):
        read("").limit(cell(), gate)


def test_limits_of_other_gates_do_not_count(read):
    assert read(limits("min = 3")).limit(cell(), "size").bound == 1.05


# From the least to the most specific for the cell that `cell()` gives; each pair is no tie.
LADDER = [
    "",
    "model = '*'",
    "model = 'res*'\ntarget = 'c?u'",
    "model = 'r*'\ntarget = '*'\nfamily = 'p*'",
    "target = 'cpu'",
    "target = 'cpu'\nmodel = 'r*'",
    "target = 'cpu'\nfamily = 'pruning'",
    "technique = 'prune'\nclass = 'B'\nbatch = 1",
    "technique = 'prune:0.5'\nclass = 'B'\nbatch = 1",
    "technique = 'prune'\nclass = 'B'\nbatch = 1\nmodel = '*'",
]


@pytest.mark.parametrize(("low", "high"), list(itertools.combinations(range(len(LADDER)), 2)))
def test_exact_keys_count_first_then_globs_then_parameters(read, low, high):
    entries = [f"min = 1\n{LADDER[low]}", f"min = 2\n{LADDER[high]}"]
    for order in (entries, entries[::-1]):
        policy = read(limits(*order))
        policy.check([cell()])
        assert speed(policy).min == 2


@pytest.mark.parametrize(
    ("keys", "facts", "matches"),
    [
        ("model = 'vit'", {}, False),
        ("technique = 'prune'", {}, True),
        ("technique = 'prune'", {"technique": "prune:0.5+static_int8"}, False),
        ("technique = '*static_int8'", {"technique": "prune:0.5+static_int8"}, True),
        ("class = 'B'", {"cls": "A"}, False),
        ("class = '?'", {"cls": "A"}, True),
        ("batch = 1", {"batch": 32}, False),
        ("batch = '3?'", {"batch": 32}, True),
        ("batch = '*'", {"batch": 32}, True),
        ("batch = 32", {"batch": 32}, True),
    ],
)
def test_every_key_must_match(read, keys, facts, matches):
    policy = read(limits(f"min = 3\n{keys}"))
    assert speed(policy, **facts).bound == (3 if matches else 1.0)


def test_a_limit_names_its_line_its_reason_and_its_keys(read):
    limit = speed(read("\n\n" + limits("min = 3\nbatch = 1\nnear = 'known'")))
    assert limit == Limit("speed", 3.0, None, "r", "policy.toml:3", "known", ("batch",))


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (float("nan"), False, False),
        (float("inf"), True, False),
        (float("-inf"), False, True),
        (0.99, False, True),
        (1.0, True, True),
        (1.01, True, False),
    ],
)
def test_nan_keeps_no_limit(value, least, most):
    assert Limit("speed", min=1.0).holds(value) is least
    assert Limit("size", max=1.0).holds(value) is most


HALF = "min = 2\ntarget = 'fp16_cpu'\nrequires = ['avx512_fp16']"


def test_a_requirement_that_is_not_met_is_no_expectation(read):
    policy = read(limits("min = 1.5", HALF))
    found = speed(policy, ["avx512_vnni"], target="fp16_cpu")
    assert found == NoExpectation(
        "the limit needs avx512_fp16, which this machine does not have", "policy.toml:5"
    )
    assert speed(policy, ["avx512_fp16"], target="fp16_cpu").min == 2
    assert speed(policy, [], target="cpu").min == 1.5


def test_of_equals_the_one_whose_requirement_is_met_wins(read):
    policy = read(limits("min = 2\nrequires = ['cuda>=8.0']", "min = 3\nrequires = ['cuda<8']"))
    policy.check([cell()])
    assert speed(policy, ["cuda=8.6"]).min == 2
    assert speed(policy, ["cuda=7.5"]).min == 3
    found = speed(policy, ["avx2"])
    assert found.reason == "the limit needs cuda<8 and cuda>=8.0, which this machine does not have"


def test_a_limit_for_machines_without_something_reads_as_such(read):
    found = speed(read(limits("min = 2\nrequires = ['!avx2']")), ["avx2"])
    assert found.reason == "the limit is for machines with !avx2"


def test_no_expectation_can_be_said_outright(read):
    policy = read(limits("min = 2", "expect = false\ntechnique = 'none'"))
    assert speed(policy, technique="none") == NoExpectation("r", "policy.toml:5")
    assert speed(policy).min == 2


TIE = limits("min = 2\nmodel = 'resnet18'", "min = 3\ntechnique = 'prune'")


def test_a_tie_on_a_selected_cell_is_an_error(read):
    policy = read(TIE)
    with pytest.raises(PolicyError) as caught:
        policy.check([cell("vit"), cell("resnet18")])
    assert caught.value.line == 6
    assert "two equally specific speed limits for resnet18-prune:0.5-cpu" in caught.value.found
    assert "this one and line 1" in caught.value.found
    with pytest.raises(PolicyError):
        speed(policy)


def test_a_tie_on_no_selected_cell_is_none(read):
    read(TIE).check([cell("vit"), cell(technique="none")])


def test_a_tie_below_the_most_specific_is_none(read):
    policy = read(TIE + "\n" + limits("min = 4\nmodel = 'resnet18'\ntechnique = 'prune'"))
    policy.check([cell()])
    assert speed(policy).min == 4


def test_a_tie_at_one_batch_size_is_seen(read):
    policy = read(limits("min = 2\nbatch = 32", "min = 3\nmodel = 'resnet18'"))
    policy.check([cell()], batches=[1])
    with pytest.raises(PolicyError):
        policy.check([cell()])


WAIVER = """
[[waiver]]
gate = "size"
reason = "r"
issue = "#7"
owner = "o"
expires = 2027-01-31
floor = 1.3
"""


def test_the_most_specific_waiver_is_found_for_its_gate_only(read):
    policy = read(WAIVER + WAIVER.replace("1.3", "1.5") + "model = 'resnet18'")
    assert policy.waiver(cell(), "size").floor == 1.5
    assert policy.waiver(cell("vit"), "size").floor == 1.3
    assert policy.waiver(cell(), "speed", 1) is None


def test_a_waiver_for_other_machines_does_not_count(read):
    policy = read(WAIVER + "requires = ['avx2']")
    assert policy.waiver(cell(), "size") is None
    assert policy.waiver(cell(), "size", None, ["avx2"]).issue == "#7"


def test_waivers_tie_as_limits_do(read):
    policy = read(WAIVER + "model = 'resnet18'" + WAIVER + "class = 'B'")
    with pytest.raises(PolicyError, match="two equally specific size waivers"):
        policy.check([cell()])


def test_how_many_gates_a_waiver_covers(read):
    policy = read(WAIVER + "model = 'vit'" + WAIVER.replace("size", "speed") + "batch = 32")
    size, speed = policy.waivers
    assert [policy.covered(one, [cell()], [1]) for one in (size, speed)] == [0, 0]
    cells = [cell(), cell("vit"), cell("vit", "none")]
    assert [policy.covered(one, cells, [1, 32]) for one in (size, speed)] == [2, 3]


matches = st.builds(
    lambda keys: Match(tuple(keys.items())),
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.sampled_from(["resnet18", "res*", "*", "vit"]),
            "technique": st.sampled_from(["prune", "prune:0.5", "p*", "none", "*+*"]),
            "class": st.sampled_from(["A", "B", "?"]),
            "target": st.sampled_from(["cpu", "c*", "cuda"]),
            "batch": st.sampled_from(["1", "32", "*"]),
        },
    ),
)


@given(matches, matches, matches)
def test_specificity_is_a_total_order(a, b, c):
    assert a.rank <= b.rank or b.rank <= a.rank
    assert not (a.rank <= b.rank <= c.rank) or a.rank <= c.rank


@given(st.lists(matches, unique=True, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_entries_does_not_matter(found, shuffler: random.Random):
    def answer(order):
        entries = [
            LimitEntry("speed", match, f"policy.toml:{found.index(match)}", "r", (), limit)
            for match in order
            for limit in [Limit("speed", min=1.0 + found.index(match), source=str(match))]
        ]
        try:
            return Policy("policy.toml", entries, []).limit(cell(), "speed", 1)
        except PolicyError:
            return "tie"

    mixed = shuffler.sample(found, len(found))
    assert answer(found) == answer(mixed)


@given(st.lists(matches, max_size=6))
def test_the_winner_covers_the_cell_and_nothing_beats_it(found):
    entries = [LimitEntry("speed", match, "policy.toml:1", "r") for match in found]
    covering = [entry for entry in entries if entry.match.covers(cell(), 1)]
    best = most_specific(covering)
    assert bool(best) == bool(covering)
    for entry in covering:
        assert entry in best or entry.match.rank < best[0].match.rank


def test_a_full_matrix_is_checked_in_no_time(read):
    entries = [
        f"min = 1\nmodel = '{m}'\ntechnique = '{t}'\nbatch = {b}"
        for m in MODELS
        for t in TECHNIQUES
        for b in range(1, 11)
    ]
    policy = read(limits(*entries))
    cells = [cell(f"m{i}", "none") for i in range(1000)]
    began = time.process_time()
    policy.check(cells)
    assert time.process_time() - began < 1.5

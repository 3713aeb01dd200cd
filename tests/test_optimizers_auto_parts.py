"""The parts of auto: validation, the plan, the last comparison, and layers."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace

import pytest
import torch
from auto_subjects import ROWS, Deep, Directions, Dropping, asked
from hypothesis import given
from hypothesis import strategies as st
from optimizers_models import MODELS, known, known_technique, target
from torch import nn

import optimizers
import zoo
from optimizers import Context, auto_plan, sensitivity
from optimizers.auto_bench import BLOCKS, MOST, PRECISE, RUNGS, Bench, _interval
from optimizers.auto_plan import Outcomes
from optimizers.auto_validation import Validation
from optimizers.auto_ways import Arm, Way, sizes

# Validation.


def validated(module, monkeypatch, tmp_path, model=None, **goal):
    model = known(model or Directions(), monkeypatch)
    context = Context(model, target(), {}, seed=0, workdir=tmp_path)
    return Validation(context, asked(model, **goal), module, tmp_path / "reference")


def test_the_drop_and_its_error_are_those_of_the_samples(monkeypatch, tmp_path):
    module = Deep(0).eval()
    found = validated(module, monkeypatch, tmp_path, max_drop=0.3)
    same = found.judge(module, "A")
    assert (same["drop"], same["score"], same["alike"]) == (0.0, 1.0, 1.0)
    assert same["samples"] == found.samples == ROWS + 32  # a fifth in whole batches of 32
    assert same["drop_error"] == pytest.approx(1 / found.samples), "of at least one sample"
    lossy = found.judge(Deep(0, wrong=1).eval(), "A")
    wrong = sum(int((one.split.labels == 0).sum()) for one in found.whole.parts)
    # A class that is never answered loses its samples, but for ties that go to it.
    assert 0 < lossy["drop"] <= wrong / found.samples
    lost = round(lossy["drop"] * found.samples)
    assert lossy["drop_error"] == pytest.approx(math.sqrt(lost) / found.samples)


@pytest.mark.parametrize("cls", "ABC")
def test_weights_that_come_from_elsewhere_have_seen_nothing_that_judges(cls, monkeypatch, tmp_path):
    module = Deep(0).eval()
    found = validated(module, monkeypatch, tmp_path)
    assert found.start(cls).module is module, "the model has no training of its own"
    assert found.reference() is None
    assert found.judge(module, cls)["samples"] == found.samples


def test_a_drop_that_the_gate_would_seldom_pass_counts_with_what_it_adds(monkeypatch, tmp_path):
    """Against draws: true drops about the measured one, and the gate's own samples of each."""
    lossy, most = Deep(0, wrong=1).eval(), 0.4
    known = validated(Deep(0).eval(), monkeypatch, tmp_path, max_drop=most)
    told = known.judge(lossy, "A")
    assert told["drop_high"] == pytest.approx(told["drop"] + told["drop_error"]), "no gate is known"
    for samples in (50, 200, 20_000):
        found = validated(
            Deep(0).eval(), monkeypatch, tmp_path, max_drop=most, judged_on=samples
        ).judge(lossy, "A")
        allowed = found["drop_high"]
        generator = torch.Generator().manual_seed(samples)
        normal = torch.randn(2, 100_000, generator=generator, dtype=torch.float64)
        gate = told["drop_error"] * math.sqrt(known.samples / samples)
        seen = told["drop"] + told["drop_error"] * normal[0] + gate * normal[1]
        passes = float((seen + 1.645 * gate <= allowed).double().mean())
        assert passes >= 0.745, samples
        assert passes <= 0.755 or allowed == pytest.approx(told["drop"] + told["drop_error"])
    few = validated(Deep(0).eval(), monkeypatch, tmp_path, max_drop=1e-3, judged_on=200)
    few = few.judge(lossy, "A")
    assert (few["drop_error"], few["drop_high"]) == (None, few["drop"])


class Grouped(Directions):
    """Four sources; whether an answer is right depends on its source."""

    name = "test_grouped"

    def split(self, name):
        if name == "train":
            raise zoo.Unavailable("it is pretrained")
        whole = super().split(name)
        return zoo.Split(whole.inputs, whole.labels, [n // 64 for n in range(ROWS)])


def test_samples_of_one_source_count_as_one_and_few_give_no_error(monkeypatch, tmp_path):
    module = Deep(0).eval()
    found = validated(module, monkeypatch, tmp_path, Grouped(), max_drop=0.6)
    told = found.judge(Deep(0, wrong=2).eval(), "A")
    assert told["drop_error"] > 2 * math.sqrt(told["drop"] / ROWS)
    # Of so few sources it is a guess, and better than none.
    gated = validated(module, monkeypatch, tmp_path, Grouped(), max_drop=0.6, judged_on=4)
    high = gated.judge(Deep(0, wrong=2).eval(), "A")["drop_high"]
    assert high > told["drop"] + 2 * told["drop_error"]
    assert gated.judge(module, "A")["drop_high"] < 0.02, "no answer changed"
    few = validated(module, monkeypatch, tmp_path, Grouped(), max_drop=1e-3)
    assert few.judge(module, "A")["drop_error"] is None


def test_the_cheap_look_stops_what_is_far_off_and_nothing_else(monkeypatch, tmp_path):
    found = validated(Deep(0).eval(), monkeypatch, tmp_path, fidelity=0.95)
    assert found.look(Deep(3).eval(), "A") == (None, 1.0)
    told, alike = found.look(Deep(0, wrong=3).eval(), "A")
    assert told == f"{alike:.1%} like FP32 on 32 samples"
    assert found.look(Deep(0, wrong=3).eval(), "C") == (None, alike)
    assert "not finite" in found.look(lambda rows: Deep(0)(rows) * math.nan, "C")[0]
    assert "form" in found.look(lambda rows: (Deep(0)(rows),), "A")[0]


# The plan.


def strongest(technique, outcomes):
    """(what was tried, what was found)."""
    steps, tried = auto_plan._strongest(technique, (), outcomes), []
    while True:
        try:
            tried.append(next(steps))
        except StopIteration as end:
            return tried, end.value


@given(st.integers(0, 6), st.integers(1, 6))
def test_bisection_finds_the_strongest_in_few_trials(bears, count):
    values = tuple((n + 1) / 10 for n in range(count))
    scaled = SimpleNamespace(name="x", variants=({"amount": 0.1},), scale=("amount", values))
    strong = dict(zip(values, range(count), strict=True))

    def works(stages):
        return strong[stages[0][1]["amount"]] < bears

    outcomes = Outcomes(works, lambda _: True, lambda _: False)
    tried, result = strongest(scaled, outcomes)
    assert len(tried) <= math.floor(math.log2(count)) + 1
    wanted = min(bears, count)
    best = [one[0][1]["amount"] for one in result[:1]]
    assert best == ([values[wanted - 1]] if wanted else [])


def test_what_saves_no_work_is_taken_no_further():
    scaled = SimpleNamespace(name="x", variants=({"n": 5},), scale=("n", (3, 5, 7, 9)))
    outcomes = Outcomes(lambda _: True, lambda one: one[0][1]["n"] > 5, lambda _: False)
    assert [one[0][1]["n"] for one in auto_plan._strongest(scaled, (), outcomes)] == [5]


def test_what_is_hopeless_is_tried_no_milder_and_by_no_other_variant():
    variants = ({"n": 5, "how": "a"}, {"n": 5, "how": "b"})
    scaled = SimpleNamespace(name="x", variants=variants, scale=("n", (3, 5, 7, 9)))
    outcomes = Outcomes(lambda _: False, lambda _: True, lambda _: False, lambda _: True)
    assert strongest(scaled, outcomes) == ([(("x", {"n": 5, "how": "a"}),)], [])
    outcomes = Outcomes(
        lambda one: one[0][1]["n"] == 5,
        lambda _: True,
        lambda _: False,
        lambda one: one[0][1]["n"] == 7,
    )
    tried, found = strongest(scaled, outcomes)
    assert [one[0][1]["n"] for one in tried] == [5, 7]
    assert [one[0][1]["n"] for one in found] == [5], "what keeps the accuracy stays"


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6))
def test_where_a_change_is_no_faster_a_stronger_one_is_tried(vain, bears, count):
    """Strengths below `vain` are not made; above `bears` the accuracy is lost."""
    scaled = SimpleNamespace(name="x", variants=({"n": 0},), scale=("n", tuple(range(count))))
    outcomes = Outcomes(
        lambda one: vain <= one[0][1]["n"] < bears,
        lambda one: one[0][1]["n"] >= vain,
        lambda one: one[0][1]["n"] < vain,
    )
    _, result = strongest(scaled, outcomes)
    best = min(bears, count) - 1
    assert [one[0][1]["n"] for one in result[:1]] == ([best] if best >= vain else [])


@pytest.mark.parametrize(
    ("bears", "tried"),
    [
        (0.6, [(0.5, "a"), (0.7, "a")]),
        (0.1, [(0.5, "a"), (0.3, "a"), (0.3, "b")]),
    ],
)
def test_other_variants_are_tried_where_the_first_keeps_the_accuracy_nowhere(bears, tried):
    variants = (
        {"amount": 0.5, "how": "a"},
        {"amount": 0.1, "how": "a"},
        {"amount": 1.0, "how": "b"},
    )
    scaled = SimpleNamespace(name="x", variants=variants, scale=("amount", (0.3, 0.5, 0.7)))
    outcomes = Outcomes(lambda one: one[0][1]["amount"] < bears, lambda _: True, lambda _: False)
    found = [one[0][1] for one in auto_plan._strongest(scaled, (), outcomes)]
    assert [(one["amount"], one["how"]) for one in found] == tried


def test_students_come_before_changes_of_fp32s_own_structure(monkeypatch):
    def one(name, scale=None):
        return SimpleNamespace(name=name, variants=({"n": 1},), scale=scale)

    known = {
        "numerics": [one("run")],
        "structure": [one("cut", ("n", (1,)))],
        "architecture": [one("small")],
    }
    monkeypatch.setattr(auto_plan, "techniques", lambda _: known)
    outcomes = Outcomes(lambda _: True, lambda _: True, lambda _: False)
    found = ["+".join(name for name, _ in one) for one in auto_plan.plan("architecture", outcomes)]
    assert found == [
        "run", "small", "small+run", "small+cut", "small+cut+run", "cut", "cut+run",
    ]  # fmt: skip


def test_every_technique_of_the_project_has_its_place_and_no_search_is_in_a_search():
    optimizers.names()
    found = auto_plan.techniques("architecture")
    names = [one.name for several in found.values() for one in several]
    others = {"none", "auto", "nas_evolution", "nas_reinforce", "amp_bf16", "amp_fp16"}
    assert set(optimizers.names()) - set(names) == others
    runtimes = [one.name for one in found["numerics"] if "runtime" in one.claims]
    quick = [name for name in runtimes if not optimizers.get(name).compiles]
    assert [one.name for one in found["numerics"]][: len(quick)] == quick
    assert "onnxruntime" in quick
    assert found["numerics"][-1].name == "qat_int8"
    assert list(auto_plan.techniques("numerics")) == ["numerics"]
    for several in found.values():
        for one in several:
            if one.scale is not None:
                name, values = one.scale
                assert name in one.variants[0]
                assert all(type(value) is type(one.variants[0][name]) for value in values)
            assert set(one.rescues) <= set(names)
            assert all(names.index(other) < names.index(one.name) for other in one.akin)


def test_a_change_that_saves_no_work_is_joined_with_nothing(monkeypatch):
    known_technique(Dropping, monkeypatch)
    stages = (("h_dropping", {"amount": 0.5}),)
    heavy = Outcomes(lambda _: True, lambda _: False, lambda _: False)
    light = Outcomes(lambda _: True, lambda _: True, lambda _: False)
    last = [("onnxruntime", {}), ("openvino", {})]
    assert list(auto_plan._joined([stages], last, heavy)) == []
    assert [one[-1][0] for one in auto_plan._joined([stages], last, light)] == [
        "onnxruntime", "openvino",
    ]  # fmt: skip
    assert auto_plan.cls((*stages, ("openvino", {}))) == "B"


# The last comparison.


class Scripted(Bench):
    """Costs as stated instead of timed, with noise."""

    def __init__(self, costs, noise=0.02):
        self.apart = noise
        self.name, self.known, self.costs = "latency_ms", {"cost": 10.0, "batch": 1}, costs
        self.noise = torch.Generator().manual_seed(0)
        self._reference = Arm(lambda: "reference")
        self.asked = {}

    def arm(self, artifact, size):
        return Arm(artifact, size)

    def _segment(self, call):
        name = call()
        self.asked[name] = self.asked.get(name, 0) + 1
        apart = float(torch.randn((), generator=self.noise))
        return self.costs[name] * math.exp(self.apart * apart)


def test_a_comparison_gives_time_to_what_is_close_and_finds_the_least():
    costs = {"reference": 10.0, "far": 2.0, "near": 1.03, "best": 1.0}
    bench = Scripted(costs)
    told = bench.race({n: Arm(lambda name=name: name) for n, name in enumerate(costs) if n})
    assert told[1]["blocks"] == RUNGS[0]
    assert told[2]["blocks"] > RUNGS[0]
    assert max(told, key=lambda n: (told[n]["blocks"], -told[n]["latency_ms"])) == 3
    assert told[3]["latency_ms"] == pytest.approx(1.0, rel=0.02)
    assert bench.asked["far"] < bench.asked["near"]


def test_a_measurement_is_told_with_its_error():
    bench = Scripted({"reference": 10.0, "one": 4.0})
    way, told = bench.measure({Way(): lambda: "one"})
    assert way == Way()
    assert told["latency_ms"] == pytest.approx(4.0, rel=0.05)
    assert 0 < told["latency_ms_error"] <= PRECISE
    assert bench.asked == {"reference": BLOCKS, "one": BLOCKS}


def test_a_noisy_measurement_goes_on_but_not_for_ever():
    noisy = Scripted({"reference": 10.0, "one": 4.0}, noise=0.5)
    noisy.measure({Way(): lambda: "one"})
    assert noisy.asked["one"] == MOST
    some = Scripted({"reference": 10.0, "one": 4.0}, noise=0.06)
    _, told = some.measure({Way(): lambda: "one"})
    assert BLOCKS < some.asked["one"] < MOST
    assert told["latency_ms_error"] <= PRECISE


def test_the_way_that_costs_least_a_sample_is_found_and_the_others_get_no_more_time():
    costs = {"reference": 10.0, "one": 1.0, "eight": 4.0, "large": 40.0}
    bench = Scripted(costs)
    ways = {Way(None, 1): "one", Way(None, 8): "eight", Way(None, 32): "large"}
    way, told = bench.measure({way: lambda name=name: name for way, name in ways.items()})
    assert way == Way(None, 8)
    assert told["latency_ms"] == pytest.approx(4.0 / 8, rel=0.05)
    assert set(bench.asked.values()) == {BLOCKS}
    noisy = Scripted(costs, noise=0.07)
    noisy.measure({way: lambda name=name: name for way, name in ways.items()})
    assert noisy.asked["eight"] > noisy.asked["one"] == BLOCKS


@pytest.mark.parametrize(("fewer", "threads"), [(0.9, 2), (0.999, None), (1.1, None)])
def test_other_threads_have_to_be_worth_their_name(fewer, threads):
    bench = Scripted({"reference": 10.0, "all": 1.0, "two": fewer})
    way, _ = bench.measure({Way(): lambda: "all", Way(2): lambda: "two"})
    assert way.threads == threads


def test_sizes_are_the_largest_and_halves_of_it():
    assert sizes(1) == (1,)
    assert sizes(12) == (1, 3, 6, 12)
    assert sizes(32) == (1, 2, 4, 8, 16, 32)
    assert sizes(256) == (8, 16, 32, 64, 128, 256)


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=200), st.sampled_from([0.05, 0.004]))
def test_an_interval_of_the_median_holds_it_and_is_wider_the_surer(values, level):
    low, high = _interval(values, level)
    assert low <= statistics.median(values) <= high
    surer = _interval(values, level / 4)
    assert surer[0] <= low
    assert high <= surer[1]


def test_the_interval_misses_the_median_as_seldom_as_it_says():
    draws = torch.randn(4000, 9, generator=torch.Generator().manual_seed(0)).tolist()
    missed = sum(not low <= 0 <= high for low, high in map(_interval, draws)) / len(draws)
    assert 0.02 < missed < 0.05  # exactly 0.039
    assert _interval([1.0] * 5) == (-math.inf, math.inf)


# Layers.


def test_the_layer_with_an_outlier_bears_8_bits_worst_and_weights_are_put_back(
    monkeypatch, tmp_path
):
    torch.manual_seed(0)
    model = known("test_linear", monkeypatch)
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 4)).eval()
    with torch.no_grad():
        module[2].weight[:, 0] *= 1e3
        module[3].weight[:, :] = torch.rand(4, 8)
        module[0].weight[0] = 0
        module[0].bias[0] = 1e-3
    before = {name: one.clone() for name, one in module.state_dict().items()}
    told = sensitivity.by_layer(module, Context(model, target(), {}, seed=0, workdir=tmp_path))
    assert next(iter(told)) == "2"
    assert set(told) == {"0", "2", "3"}
    assert all(torch.equal(one, before[name]) for name, one in module.state_dict().items())
    assert not any(one._forward_pre_hooks for one in module.modules())


@pytest.mark.parametrize("name", ["test_conv", "test_rows", "test_sentences", "test_words"])
def test_layers_of_every_kind_are_told(name, monkeypatch, tmp_path):
    torch.manual_seed(0)
    model = known(MODELS[name](), monkeypatch)
    context = Context(model, target(), {}, seed=0, workdir=tmp_path)
    told = sensitivity.by_layer(model.build().eval(), context)
    assert told
    assert list(told.values()) == sorted(told.values())
    assert all(0 < one <= 200 for one in told.values()), told

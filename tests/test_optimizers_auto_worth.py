"""auto: whether a change saves any work, before it is trained and after."""

from __future__ import annotations

import copy

import pytest
import torch
from auto_subjects import (
    Cutting,
    Deep,
    Directions,
    Running,
    by_name,
    only,
    ready,
    searched,
    timed,
)
from optimizers_models import known, known_technique, target
from torch import nn

from gauge.targets import get
from optimizers import Context, EagerModule, Technique
from optimizers.auto_bench import Bench
from optimizers.auto_goal import Goal
from optimizers.auto_worth import Worth
from optimizers.base import Refused


class Slow(Cutting):
    """Runs any module again and again: the best last stage there is, if it is alone."""

    name = "n_repeated"
    repeats = 3

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        context.notes["blocks"] = len(module.blocks)
        return Repeated(module)


class Repeated(EagerModule):
    def __call__(self, rows):
        for _ in range(Slow.repeats):
            self.module(rows)
        return self.module(rows)


def worth(
    monkeypatch, tmp_path, goal=None, device=None, records=(), benches=None, before=(), arm=None
):
    model = known(Directions(), monkeypatch)
    context = Context(model, device or target(), {}, seed=0, workdir=tmp_path)
    goal, arm = goal or Goal(0.01, "latency"), arm or (lambda one: one["latency_ms"])
    return Worth(Deep(60), before, "o_thinning", context, goal, list(records), benches or {}, arm)


def test_work_is_products_and_where_the_smallest_is_wanted_weights(monkeypatch, tmp_path):
    found = worth(monkeypatch, tmp_path, device=get("bf16_cpu"))
    whole = found.whole
    assert found.lighter(Deep(50))
    assert found.lighter(Deep(50).bfloat16()), "as it is on the target"
    assert not found.lighter(whole)
    assert not found.lighter(Deep(59)), "one in sixty blocks"
    assert found.in_vain(Deep(50)) is None
    assert found.in_vain(whole) is None, "it may have kernels of its own"
    assert found.in_vain(Deep(59)) == "leaves 98% of the products to do"
    found.goal = Goal(0.01, "size")
    assert found.lighter(Deep(59))
    assert found.in_vain(Deep(59)) is None


class Counted:
    """A bench on which a module costs so many milliseconds a block; arms are what they cost."""

    def __init__(self, cost: float) -> None:
        self.cost, self.asked = cost, []

    def arm(self, artifact, batch):
        self.asked.append((type(artifact), batch))
        return self.cost * len(artifact.module.blocks)

    def race(self, arms):
        return {n: {"latency_ms": cost, "latency_ms_error": 0.01} for n, cost in arms.items()}


def test_before_a_training_the_best_last_stage_tells_what_is_gained(monkeypatch, tmp_path):
    known_technique(Slow, monkeypatch)
    best = {**timed("n_repeated", 0.5, 0.0), "class": "A"}
    bench = Counted(0.01)
    found = worth(monkeypatch, tmp_path, records=[best], benches={"latency_ms": bench})
    module, slimmer = Deep(50), Deep(40)
    state = torch.get_rng_state()
    weights = copy.deepcopy(module.state_dict())
    told = "would make n_repeated cost 1.00 times what it does without"
    assert found.in_vain(module) == told
    assert bench.asked == [(Repeated, 1)]
    assert found.in_vain(slimmer) is None, "a fifth is saved"
    assert found.likely == {
        "last": ["n_repeated", {}], "latency_ms": pytest.approx(0.4), "latency_ms_error": 0.01,
    }  # fmt: skip
    best["status"] = "drops"
    assert found.in_vain(module) is None, "nothing is known to be the best"
    best |= {"status": "passes", "trains": True}
    assert found.in_vain(module) is None, "it would be trained twice"
    assert torch.equal(torch.get_rng_state(), state), "what is trained next draws the same numbers"
    assert all(torch.equal(one, weights[name]) for name, one in module.state_dict().items())


def test_what_comes_before_is_what_a_change_is_held_against(monkeypatch, tmp_path):
    known_technique(Slow, monkeypatch)
    alone = {**timed("n_repeated", 0.5, 0.0), "class": "A"}
    before = ["h_dropping", {"amount": 0.5}]
    joined = {**timed("h_dropping+n_repeated", 0.3, 0.0), "trains": True}
    joined["stages"] = [before, ["n_repeated", {}]]
    found = worth(
        monkeypatch,
        tmp_path,
        records=[alone, joined],
        benches={"latency_ms": Counted(0.01)},
        before=(tuple(before),),
    )
    assert found.in_vain(Deep(30)).startswith("would make h_dropping+n_repeated cost 1.00 times")
    assert found.in_vain(Deep(20)) is None


def test_what_another_change_beats_by_far_is_not_trained(monkeypatch, tmp_path):
    known_technique(Slow, monkeypatch)
    best = {**timed("n_repeated", 0.6, 0.01), "class": "A"}
    student = {**timed("student+n_repeated", 0.2, 0.01), "class": "C"}
    student["stages"] = [["student", {}], ["n_repeated", {}]]
    bench = {"latency_ms": Counted(0.01)}
    found = worth(monkeypatch, tmp_path, records=[best, student], benches=bench)
    told = "would cost, with n_repeated, 2.5 times what student+n_repeated does"
    assert found.in_vain(Deep(50)) == told
    assert found.in_vain(Deep(30)) is None, "others may come behind it, which gain more"
    student["status"] = "drops"
    assert found.in_vain(Deep(50)) is None


def test_what_cannot_be_built_so_is_judged_by_its_training(monkeypatch, tmp_path):
    class Picky(Slow):
        name = "n_picky"

        def apply(self, module, context):
            raise Refused("not this one")

    known_technique(Picky, monkeypatch)
    best = {**timed("n_picky", 0.5, 0.0), "class": "A"}
    found = worth(monkeypatch, tmp_path, records=[best], benches={"latency_ms": Counted(9.0)})
    assert found.in_vain(Deep(50)) is None


class Thinning(Technique):
    """Structure: takes blocks away that its runtime does not run, and is trained."""

    name, family, changes = "o_thinning", "test", "structure"
    variants = ({"amount": 0.5},)
    scale = ("amount", (0.25, 0.5, 0.75))

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        module.blocks = module.blocks[: round(60 * (1 - context.params["amount"]))]
        if context.worth is not None:
            context.worth(module)
        context.train()
        return EagerModule(module)

    def rebuild(self, module, params, notes):
        module.blocks = module.blocks[: round(60 * (1 - params["amount"]))]
        return module


def test_what_a_milder_change_does_as_well_is_not_trained(monkeypatch, tmp_path):
    for technique in (Slow, Thinning):
        known_technique(technique, monkeypatch)
    best = {**timed("n_repeated", 0.6, 0.01), "class": "A"}
    milder = {**timed("o_thinning:0.3", 2.0, 0.01), "likely": {"last": ["n_repeated", {}]}}
    milder |= {"stages": [["o_thinning", {"amount": 0.3}]], "class": "B"}
    milder["likely"] |= {"latency_ms": 0.395, "latency_ms_error": 0.0}
    bench = {"latency_ms": Counted(0.01)}
    found = worth(monkeypatch, tmp_path, records=[best, milder], benches=bench)
    told = "would cost, with n_repeated, as much as o_thinning:0.3 does"
    assert found.in_vain(Deep(40)) == told
    assert found.in_vain(Deep(38)) is None, "it saves a twentieth"
    milder["likely"]["latency_ms_error"] = 0.1
    assert found.in_vain(Deep(40)) is None, "that one may cost more than it seems"
    milder["likely"]["latency_ms_error"] = 0.0
    found.technique = "h_dropping"
    assert found.in_vain(Deep(40)) is None, "another change keeps other answers"
    found.technique, milder["status"] = "o_thinning", "drops"
    assert found.in_vain(Deep(40)) is None


class Padded(Cutting):
    """A runtime that is slower with half of the blocks, and far faster with less."""

    name = "n_padded"

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        context.notes["blocks"] = {60: 60, 30: 120}.get(len(module.blocks), 2)
        return EagerModule(Deep(context.notes["blocks"]).eval())

    def rebuild(self, module, params, notes):
        return Deep(notes["blocks"]).eval()


def test_a_change_that_gains_nothing_is_not_trained_and_a_stronger_one_tried(monkeypatch, tmp_path):
    model = ready(monkeypatch)
    only(monkeypatch)
    for technique in (Padded, Thinning):
        known_technique(technique, monkeypatch)
    monkeypatch.setattr(Padded, "claims", ())
    _, notes, _ = searched(model, tmp_path, allow="structure", fidelity=None)
    found = by_name(notes)
    assert found["o_thinning:0.5"]["status"] == "skipped"
    assert found["o_thinning:0.5"]["reason"].startswith("would make n_padded cost")
    assert "o_thinning:0.25" not in found
    assert found["o_thinning:0.75"]["status"] == "passes"
    assert found["o_thinning:0.75+n_padded"]["status"] == "passes"
    assert "o_thinning:0.5+n_padded" not in found


class Risking(Thinning):
    """Faster, and may lose too much: a class in four."""

    name = "p_risking"
    variants = ({"amount": 0.5},)
    scale = ("amount", (0.5,))

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        module = super().apply(module, context).module
        with torch.no_grad():
            module.head.weight[0] = 0
        return EagerModule(module)


class Blurred(Cutting):
    """A runtime that is faster than all others, and may lose too much as well."""

    name = "q_blurred"
    blocks, wrong = 15, 1


def test_what_may_be_good_enough_and_faster_is_told_with_what_it_would_cost(monkeypatch, tmp_path):
    model = ready(monkeypatch)
    only(monkeypatch)
    for technique in (Blurred, Running, Risking):
        known_technique(technique, monkeypatch)
    goal = {"allow": "structure", "fidelity": None}
    lost = by_name(searched(model, tmp_path / "a", **goal)[1])["q_blurred"]["drop"]
    _, told, _ = searched(model, tmp_path / "b", **goal, max_drop=lost + 0.005)
    search, trials = told["search"], by_name(told)
    assert search["pipeline"] == "r_running"
    for name in ("q_blurred", "p_risking:0.5"):
        assert trials[name]["status"] == "drops"
        assert trials[name]["drop"] == pytest.approx(lost)
    (one,) = search["undecided"]
    assert one["stages"] == [["q_blurred", {}]], "as much is lost, and it costs less"
    assert (one["drop"], one["drop_error"]) == tuple(
        trials["q_blurred"][name] for name in ("drop", "drop_error")
    )
    assert 0.1 < one["share"] < 0.6
    assert trials["p_risking:0.5"]["likely"]["last"] == ["r_running", {}]
    ratio = trials["p_risking:0.5"]["likely"]["latency_ms"] / trials["r_running"]["latency_ms"]
    assert 0.3 < ratio < 0.8
    assert "latency_ms" not in trials["p_risking:0.5"], "without a runtime it tells nothing"


def test_a_real_bench_tells_a_third_from_the_whole(monkeypatch, tmp_path):
    ready(monkeypatch)
    known_technique(Slow, monkeypatch)
    from auto_subjects import asked

    model = Directions()
    context = Context(model, target(), {}, seed=0, workdir=tmp_path)
    bench = Bench("latency_ms", context, asked(model), Deep(60).eval())
    best = {**timed("n_repeated", 4 * bench.reference, 0.0), "class": "A"}
    whole = bench.arm(Repeated(Deep(60).eval()), 1)
    found = worth(
        monkeypatch, tmp_path, records=[best], benches={"latency_ms": bench}, arm=lambda _: whole
    )
    assert found.in_vain(Deep(20)) is None


def test_it_is_run_in_the_batches_that_were_best(monkeypatch, tmp_path):
    known_technique(Slow, monkeypatch)
    best = {**timed("n_repeated", 0.5, 0.0, batch=4), "class": "A"}
    bench = Counted(0.001)
    found = worth(monkeypatch, tmp_path, records=[best], benches={"latency_ms": bench})
    assert found.in_vain(Deep(50)) is None
    assert bench.asked == [(Repeated, 4)]


class Wrecking(Thinning):
    """Wrong about three classes of four, trained or not."""

    name = "p_wrecking"
    trained = True

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        if self.trained:
            context.train()
        return EagerModule(self.rebuild(module, context.params, {}))

    def rebuild(self, module, params, notes):
        module = super().rebuild(module, params, notes)
        with torch.no_grad():
            module.head.weight[:3] = 0
        return module


@pytest.mark.parametrize("trained", [True, False])
def test_where_a_training_is_far_off_a_milder_change_is_not_trained(monkeypatch, tmp_path, trained):
    model = ready(monkeypatch)
    only(monkeypatch, "a_first")
    known_technique(Wrecking, monkeypatch)
    monkeypatch.setattr(Wrecking, "trained", trained)
    found = by_name(searched(model, tmp_path, allow="structure", fidelity=0.9)[1])
    assert found["p_wrecking:0.5"]["status"] == "unlike"
    assert found["p_wrecking:0.5"]["alike"] < 0.5
    assert ("p_wrecking:0.25" in found) != trained, "what costs nothing may be tried"

"""auto: trials that cannot change what is found, by what was measured."""

from __future__ import annotations

from auto_subjects import Dropping, record, timed
from optimizers_models import known_technique

from optimizers.auto_goal import DROPS, Goal
from optimizers.auto_pointless import pointless


def test_what_rescues_another_is_skipped_where_that_needs_no_rescue():
    told = record("static_int8", latency_ms=1.0, latency_ms_error=0.0)
    told["stages"] = [["static_int8", {"observer": "minmax"}]]
    of = {"static_int8": told}

    def look(stages):
        return of.get(stages[-1][0])

    goal = Goal(0.01, "latency")
    reason = pointless((("qat_int8", {}),), look, [told], goal)
    assert reason == "static_int8 keeps the accuracy with the same kernels"
    told["status"] = DROPS
    assert pointless((("qat_int8", {}),), look, [told], goal) is None


def test_code_that_is_generated_alike_is_skipped_where_that_is_far_slower():
    best = timed("onnxruntime", 1.0, 0.0)
    alike = timed("aot_inductor", 1.6, 0.0)
    of = {"aot_inductor": alike}

    def asked(*before):
        stages = (*before, ("compile", {}))
        found = [best, alike]
        return pointless(stages, lambda one: of.get(one[-1][0]), found, Goal(0.01, "latency"))

    told = "aot_inductor keeps the accuracy and costs 1.6 times what onnxruntime does"
    assert asked() == f"{told}; this one's code is generated in the same way"
    assert asked(("low_rank", {"ratio": 0.5})).startswith(told)
    alike["latency_ms"] = 1.4
    assert asked() is None, "it may be the faster one by so much"
    alike.update(latency_ms=1.6, status=DROPS)
    assert asked() is None
    del of["aot_inductor"]
    assert asked() is None, "it was not tried"


def test_a_milder_change_is_skipped_where_a_stronger_one_does(monkeypatch):
    known_technique(Dropping, monkeypatch)
    alone = record("openvino", latency_ms=1.0, latency_ms_error=0.0)
    strong = record("h_dropping:0.7+openvino")
    strong["stages"] = [["h_dropping", {"amount": 0.7}], ["openvino", {}]]
    milder = (("h_dropping", {"amount": 0.5}), ("openvino", {}))
    goal, records = Goal(0.01, "latency"), [alone, strong]

    def asked(stages=milder):
        return pointless(stages, lambda _: alone, records, goal)

    assert asked() == "h_dropping:0.7+openvino keeps the accuracy with less work"
    strong["status"] = DROPS
    assert asked() is None, "the milder one may keep what the stronger one lost"
    assert asked((("low_rank", {"ratio": 0.5}), ("openvino", {}))) is None
    alone["trains"] = True
    assert "openvino asks for training" in asked()


def test_a_change_that_makes_no_runtime_cheaper_is_joined_with_no_more():
    alone = {name: timed(name, 1.0, 0.02) for name in ("onnxruntime", "openvino", "compile")}
    joined = [timed(f"low_rank+{name}", cost, 0.02) for name, cost in (("onnxruntime", 0.98),)]
    joined += [timed("low_rank+openvino", 1.1, 0.02)]
    low_rank = ["low_rank", {"ratio": 0.5}]
    for one, name in zip(joined, alone, strict=False):
        one["stages"] = [low_rank, [name, {}]]

    def asked():
        stages = (("low_rank", {"ratio": 0.5}), ("compile", {}))
        found = [*alone.values(), *joined]
        return pointless(stages, lambda one: alone.get(one[-1][0]), found, Goal(0.01, "latency"))

    assert asked() == "low_rank+onnxruntime costs 0.98 times what onnxruntime does"
    joined[1]["latency_ms"] = 0.96
    assert asked() is None, "one of them gains"
    del joined[1]
    assert asked() is None, "one alone tells little"


def test_a_variant_is_skipped_where_the_first_one_is_not_among_the_best():
    best = timed("onnxruntime", 1.0, 0.0)
    first = timed("openvino_int8", 1.4, 0.0)
    stages = (("openvino_int8", {"control": True}),)
    goal = Goal(0.01, "latency")

    def asked(before=()):
        return pointless((*before, *stages), lambda one: first, [best, first], goal)

    told = "openvino_int8 keeps the accuracy and costs 1.4 times what onnxruntime does"
    assert asked() == told
    assert asked((("low_rank", {"ratio": 0.5}),)) == told
    first["latency_ms"] = 1.2
    assert asked() is None
    first |= {"status": DROPS, "latency_ms": 9.0}
    assert asked() is None, "a variant may rescue it"

"""auto: trials that cannot change what is found, by what was measured."""

from __future__ import annotations

from auto_subjects import Cutting, Dropping, record, timed
from optimizers_models import known_technique

import optimizers
from optimizers.auto_goal import DROPS, OVER, PASSES, REFUSED, SKIPPED, Goal, key
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
    first = timed("onnxruntime_int8", 1.4, 0.0)
    stages = (("onnxruntime_int8", {"granularity": "tensor", "keep": "none"}),)
    goal = Goal(0.01, "latency")

    def asked(before=()):
        return pointless((*before, *stages), lambda one: first, [best, first], goal)

    told = "onnxruntime_int8 keeps the accuracy and costs 1.4 times what onnxruntime does"
    assert asked() == told
    assert asked((("low_rank", {"ratio": 0.5}),)) == told
    first["latency_ms"] = 1.2
    assert asked() is None
    first |= {"status": DROPS, "latency_ms": 9.0}
    assert asked() is None, "a variant may rescue it"


class Sparing(Cutting):
    """Two runtimes that can leave layers in FP32."""

    name = "p_sparing"
    variants = ({"keep": "none", "fine": 1}, {"keep": "auto", "fine": 1})
    sparing = ("keep", "auto")


class Other(Sparing):
    name = "q_sparing"


def told(name, status, *before, keep="none", **more):
    found = record(f"{name}:{keep}", status=status, **more)
    found["stages"] = [*before, [name, {"keep": keep, "fine": 1}]]
    return found


def test_layers_are_left_in_fp32_only_where_the_accuracy_asks_for_it(monkeypatch):
    known_technique(Sparing, monkeypatch)
    known_technique(Other, monkeypatch)
    plain = told("p_sparing", PASSES, latency_ms=1.0, latency_ms_error=0.0)
    records = [plain]

    def asked(*stages):
        by = {key(one["stages"]): one for one in records}
        return pointless(stages, lambda one: by.get(key(one)), records, Goal(0.01, "latency"))

    own = ("p_sparing", {"keep": "auto", "fine": 1})
    other = ("q_sparing", {"keep": "auto", "fine": 1})
    assert asked(own) == "p_sparing:none keeps the accuracy, and this would cost no less"
    plain["status"] = DROPS
    assert asked(own) is None
    assert asked(other) is None
    records.append(told("p_sparing", DROPS, keep="auto", reason="drops 3 points"))
    assert asked(other) == "p_sparing:auto leaves layers in FP32 too: drops 3 points"
    records[-1]["status"] = SKIPPED
    assert asked(other) is None, "that one was not needed, this one may be"
    records[-1]["status"] = REFUSED
    assert asked(other) is None


def test_after_a_change_layers_may_have_to_be_left_that_needed_it_not_without(monkeypatch):
    known_technique(Sparing, monkeypatch)
    known_technique(Dropping, monkeypatch)
    before = ["h_dropping", {"amount": 0.5}]
    records = [
        told("p_sparing", PASSES, latency_ms=1.0, latency_ms_error=0.0),
        told("p_sparing", SKIPPED, keep="auto"),
        told("p_sparing", DROPS, before),
    ]
    by = {key(one["stages"]): one for one in records}
    stages = (tuple(before), ("p_sparing", {"keep": "auto", "fine": 1}))
    goal = Goal(0.01, "latency")
    assert pointless(stages, lambda one: by.get(key(one)), records, goal) is None
    records[0]["latency_ms"] = 2.0
    records.append(timed("onnxruntime", 1.0, 0.0))
    reason = pointless(stages, lambda one: by.get(key(one)), records, goal)
    assert reason == "p_sparing:none by itself costs 2.0 times what onnxruntime does"


def test_what_costs_the_same_is_tried_only_where_the_first_one_drops(monkeypatch):
    class Taught(Cutting):
        name = "r_taught"
        changes = "architecture"
        variants = ({"alpha": 0.9, "depth": 2}, {"alpha": 0.5, "depth": 2})
        costless = ("alpha",)

    known_technique(Taught, monkeypatch)
    first = record("r_taught")
    first["stages"] = [["r_taught", {"alpha": 0.9, "depth": 2}]]

    def asked(**params):
        stages = (("r_taught", params),)
        by = {key(first["stages"]): first}
        return pointless(stages, lambda one: by.get(key(one)), [first], Goal(0.01, "latency"))

    assert asked(alpha=0.9, depth=2) is None
    assert asked(alpha=0.5, depth=1) is None, "less to compute"
    reason = "r_taught keeps the accuracy, and this would cost no less"
    assert asked(alpha=0.5, depth=2) == reason
    first["status"] = OVER
    assert asked(alpha=0.5, depth=2) == reason, "over a budget both are"
    first["status"] = DROPS
    assert asked(alpha=0.5, depth=2) is None


def test_integers_may_be_so_many_times_quicker_than_what_is_generated_alike():
    best, alike = timed("onnxruntime", 1.0, 0.0), timed("aot_inductor", 5.9, 0.0)
    of = {"aot_inductor": alike}

    def asked():
        stages = (("static_int8", {"observer": "minmax"}),)
        found = [best, alike]
        return pointless(stages, lambda one: of.get(one[-1][0]), found, Goal(0.01, "latency"))

    assert asked() is None
    alike["latency_ms"] = 6.1
    assert asked().startswith("aot_inductor keeps the accuracy and costs 6.1 times what")


def test_what_the_project_s_own_techniques_say_of_their_variants():
    optimizers.names()
    for technique in map(optimizers.get, optimizers.names()):
        first = technique.variants[0] if technique.variants else {}
        assert set(technique.costless) <= set(first), technique.name
        assert set(technique.akin) <= set(optimizers.names()), technique.name
        if technique.sparing is not None:
            name, value = technique.sparing
            assert first[name] != value, technique.name
            assert any(one[name] == value for one in technique.variants), technique.name


def test_a_runtime_is_held_against_runtimes_not_against_what_has_less_to_do(monkeypatch):
    known_technique(Dropping, monkeypatch)
    slim = timed("h_dropping", 0.5, 0.0)
    slim["stages"] = [["h_dropping", {"amount": 0.7}]]
    alone = {"openvino": timed("openvino", 1.0, 0.0)}
    stages = (*map(tuple, slim["stages"]), ("openvino", {"threads": "all"}))
    records = [*alone.values(), slim]

    def asked():
        return pointless(stages, lambda one: alone.get(one[-1][0]), records, Goal(0.01, "latency"))

    assert asked() is None
    records.append(timed("onnxruntime", 0.6, 0.0))
    assert asked() == "openvino by itself costs 1.7 times what onnxruntime does"


def test_a_runtime_has_to_be_farther_off_to_be_left_out_after_another_architecture():
    """What comes before a student counts: kernels matter less to it, calls more."""
    alone = {"openvino": timed("openvino", 1.7, 0.0), "onnxruntime": timed("onnxruntime", 0.6, 0.0)}
    student = ("distill", {"temperature": 4.0, "alpha": 0.9})
    pruned = ("prune_channels", {"amount": 0.5, "importance": "magnitude"})
    last = ("openvino", {"threads": "all"})

    def asked(*before):
        found = [*alone.values()]
        of = lambda one: alone.get(one[-1][0]) if len(one) == 1 else None  # noqa: E731
        return pointless((*before, last), of, found, Goal(0.01, "latency"))

    told = "openvino by itself costs 2.8 times what onnxruntime does"
    assert asked(pruned) == told
    assert asked(student) is None
    assert asked(student, pruned) is None
    alone["openvino"]["latency_ms"] = 2.4
    assert asked(student) == told.replace("2.8", "4.0")

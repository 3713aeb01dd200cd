"""The project's own policy.toml, held against every cell that could be selected."""

import itertools

import pytest

from gauge.machine import FLAGS
from gauge.policy import CellFacts, Known, NoExpectation, Policy
from suites import catalog as catalogs
from suites.combinations import PIPELINES
from suites.naming import format_stage


@pytest.fixture(scope="module")
def catalog():
    return catalogs.read(())


@pytest.fixture(scope="module")
def policy(catalog):
    known = Known(
        models=list(catalog.models),
        techniques=list(catalog.techniques),
        families={*catalog.families(), "combination"},
        targets=list(catalog.targets),
        capabilities={*FLAGS, "cuda"},
    )
    return Policy.read(catalogs.ROOT / "policy.toml", known)


def cells(catalog, targets):
    # One member stands for a family of dozens that share every line of the policy.
    models = {id(definition): name for name, definition in catalog.models.items()}.values()
    for model, technique, target in itertools.product(models, catalog.techniques, targets):
        attributes = catalog.techniques[technique].attributes
        cls = catalogs.CLASS_OF[attributes["changes"]]
        for params in attributes["variants"] or ({},):
            name = format_stage(technique, params, attributes["variants"])
            yield CellFacts(model, name, attributes["family"], cls, target)
        for pipeline in PIPELINES:
            stages = pipeline.split("+")
            changes = [catalog.techniques[one.partition(":")[0]].attributes for one in stages]
            widest = max(catalogs.CLASS_OF[one["changes"]] for one in changes)
            yield CellFacts(model, pipeline, "combination", widest, target)


def test_no_cell_has_two_limits_that_are_equally_specific(catalog, policy):
    policy.check(cells(catalog, catalog.targets))


def test_every_entry_explains_itself_and_covers_some_cell(catalog, policy):
    found = list(cells(catalog, catalog.targets))
    for entry in (*policy.limits, *policy.waivers):
        assert len(entry.reason.split()) > 4, entry.source
        assert any(entry.match.covers(facts, 1) for facts in found), entry.source


@pytest.mark.parametrize("flag", ["avx512_fp16", "avx512_bf16"])
def test_half_precision_is_expected_to_be_fast_only_where_the_cpu_has_it(catalog, policy, flag):
    for facts in cells(catalog, [f"{flag[-4:]}_cpu"]):
        lacking = policy.limit(facts, "speed", 1, ["avx2"])
        assert isinstance(lacking, NoExpectation)
        assert flag in lacking.reason
        assert policy.limit(facts, "speed", 1, [flag]).min > 0

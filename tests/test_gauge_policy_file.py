"""policy.toml as people get it wrong: file, line, found, expected."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.policy import Known, Policy, PolicyError
from gauge.policy_file import FIELDS
from gauge.policy_lines import locate

KNOWN = Known(
    models=["resnet18", "vit", "imagenet:resnet50"],
    techniques=["none", "dynamic_int8", "prune:0.5", "static_int8"],
    families=["pruning", "quantisation"],
    targets=["cpu", "cuda", "fp16_cpu"],
    capabilities=["avx512_vnni", "avx512_fp16", "cuda"],
)


def read(tmp_path, text, known=KNOWN):
    path = tmp_path / "policy.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Policy.read(path, known)


def error(tmp_path, text):
    with pytest.raises(PolicyError) as caught:
        read(tmp_path, text)
    return caught.value


LIMIT = '\n[[limit]]\ngate = "speed"\nmin = 1.2\nreason = "r"\n'
WAIVER = """
[[waiver]]
gate = "size"
reason = "r"
issue = 12
owner = "release"
expires = 2027-01-31
floor = 1.3
"""


def test_a_good_file_reads(tmp_path):
    policy = read(tmp_path, "# nothing\n" + LIMIT + WAIVER)
    assert [entry.source for entry in policy.limits] == ["policy.toml:3"]
    assert policy.limits[0].limit.min == 1.2
    assert policy.waivers[0].source == "policy.toml:8"
    assert (policy.waivers[0].issue, policy.waivers[0].floor) == ("12", 1.3)


def test_an_empty_file_says_nothing_and_is_fine(tmp_path):
    assert read(tmp_path, "").limits == ()


@pytest.mark.parametrize(
    ("line", "at", "found", "expected"),
    [
        ("modle = 'vit'", 6, "unknown key 'modle' in [[limit]]", "did you mean 'model'?"),
        ("model = 'vitt'", 6, "model 'vitt', unknown", "did you mean 'vit'?"),
        ("model = 3", 6, "model = 3", "a string"),
        ("model = ''", 6, "model = ''", "not empty"),
        ("model = 'x*'", 6, "model 'x*', that matches no name", "imagenet:resnet50, resnet18"),
        ("model = '[rv]*'", 6, "that matches no name", "resnet18"),
        ("technique = 'pruned'", 6, "technique 'pruned', unknown", "optional = true"),
        ("technique = 'none+pruned'", 6, "technique 'none+pruned', unknown", "one of"),
        ("technique = 'x*+none'", 6, "that matches no name", "one of"),
        ("target = 'gpu'", 6, "target 'gpu', unknown", "cpu, cuda, fp16_cpu"),
        ("family = 'prunning'", 6, "family 'prunning', unknown", "'pruning'"),
        ("class = 'D'", 6, "class 'D', unknown", "A, B, C"),
        ("class = '[AB]'", 6, "class '[AB]', unknown", "A, B, C"),
        ("batch = 0", 6, "batch = 0", "a batch size"),
        ("batch = true", 6, "batch = True", "a batch size"),
        ("batch = 'one'", 6, "batch = 'one'", "a batch size"),
        ("batch = 1.5", 6, "batch = 1.5", "a batch size"),
        ("max = 2.0", 4, "both min and max", "only min for speed"),
        ("requires = 'avx512_vnni'", 6, "requires = 'avx512_vnni'", "an array of strings"),
        ("requires = [1]", 6, "requires = [1]", "an array of strings"),
        ("requires = ['cuda>8']", 6, "'cuda>8'", "each of the form"),
        ("requires = ['avx512_vnnl']", 6, "unknown capability", "did you mean 'avx512_vnni'?"),
        ("requires = ['cuda', '!cuda']", 6, "requires =", "one machine can have"),
        ("optional = 1", 6, "optional = 1", "true or false"),
        ("expect = 'no'", 6, "expect = 'no'", "true or false"),
        ("expect = false", 4, "min beside expect = false", "one of the two"),
        ("near = ''", 6, "near = ''", "not empty"),
        ("reason = 'again'", 6, "no valid TOML", "TOML 1.0"),
        ("model = ", 6, "no valid TOML", "TOML 1.0"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, at, found, expected):
    wrong = error(tmp_path, LIMIT + line + "\n")
    assert (wrong.line, str(wrong).split(": found")[0]) == (at, f"{tmp_path}/policy.toml:{at}")
    assert found in wrong.found
    assert expected in wrong.expected


@pytest.mark.parametrize(
    ("old", "new", "at", "found", "expected"),
    [
        ("min = 1.2", "min = nan", 4, "min = nan", "a finite ratio above 0"),
        ("min = 1.2", "min = inf", 4, "min = inf", "a finite ratio above 0"),
        ("min = 1.2", "min = -1", 4, "min = -1", "a finite ratio above 0"),
        ("min = 1.2", "min = 0", 4, "min = 0", "a finite ratio above 0"),
        ("min = 1.2", "min = 1" + "0" * 400, 4, "min = 1000", "a finite ratio"),
        ("min = 1.2", "min = true", 4, "a boolean", "a number"),
        ("min = 1.2", "min = '1.2'", 4, "a string", "a number"),
        ("min = 1.2", "min = 2026-01-01", 4, "a date", "a number"),
        ("min = 1.2", "max = 1.2", 4, "max for speed", "min: higher is better there"),
        ("min = 1.2", "", 2, "a speed limit without min", "expect = false"),
        ('gate = "speed"', "gate = 'sped'", 3, "gate 'sped', unknown", "did you mean 'speed'?"),
        ('gate = "speed"', "gate = 'spee?'", 3, "that matches no name", "speed"),
        ('gate = "speed"', "", 2, "a limit without gate", "gate, a string"),
        ('gate = "speed"', "gate = 'reload'", 3, "a limit for 'reload'", "techniques declare"),
        ('gate = "speed"', "gate = 'evidence'", 3, "a limit for 'evidence'", "every claim"),
        ('gate = "speed"', "gate = 'accuracy'", 4, "min for accuracy", "max: lower is better"),
        ('reason = "r"', "", 2, "a limit without reason", "reason, a string"),
        ('reason = "r"', "reason = ' '", 5, "reason = ' '", "not empty"),
        ("[[limit]]", "[limit]", 2, "'limit' as a table", "[[limit]] tables"),
        ("[[limit]]", "[[limits]]", 2, "'limits'", "did you mean 'limit'?"),
        ("[[limit]]", "limit = 3\n[waiver]", 2, "'limit' as an integer", "[[limit]] tables"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, old, new, at, found, expected):
    wrong = error(tmp_path, LIMIT.replace(old, new))
    assert wrong.line == at
    assert found in wrong.found
    assert expected in wrong.expected


@pytest.mark.parametrize("value", ["nan", "inf", "-0.01", "1.5"])
@pytest.mark.parametrize(("gate", "way"), [("accuracy", "max"), ("fidelity", "min")])
def test_a_fraction_beyond_0_to_1_is_no_limit(tmp_path, gate, way, value):
    wrong = error(tmp_path, f'[[limit]]\ngate = "{gate}"\n{way} = {value}\nreason = "r"')
    assert (wrong.line, wrong.found) == (3, f"{way} = {value}")
    assert "1 point is 0.01" in wrong.expected


@pytest.mark.parametrize("gate", ["accuracy", "size"])
def test_only_speed_and_memory_have_batches_and_only_speed_is_near(tmp_path, gate):
    text = LIMIT.replace("speed", gate).replace("min", "max").replace("1.2", "0.5")
    assert "batch only for speed and memory" in error(tmp_path, text + "batch = 1").expected
    assert "near only where" in error(tmp_path, text + "near = 'x'").expected


def test_fidelity_of_another_architecture_is_not_a_question(tmp_path):
    text = '[[limit]]\ngate = "fidelity"\nclass = "C"\nmin = 0.9\nreason = "r"'
    assert "class 'A' or 'B'" in error(tmp_path, text).expected


@pytest.mark.parametrize(
    "line",
    [
        "model = 'imagenet'",
        "model = 'imagenet:*'",
        "technique = 'prune'",
        "technique = 'prune:0.7'",
        "technique = 'prune:0.7+static_int8:entropy'",
        "technique = '*+static_int8'",
        "technique = 'prune*int8'",
        "technique = '*:0.5'",
        "target = 'c*'",
        "model = 'mine'\noptional = true",
        "batch = '3?'",
        "batch = 4",
        "requires = ['avx512_vnni', 'cuda>=8.0', '!avx512_fp16']",
    ],
)
def test_names_with_parameters_pipelines_and_globs_are_known(tmp_path, line):
    assert len(read(tmp_path, LIMIT + line).limits) == 1


def test_a_plugin_brings_no_class(tmp_path):
    assert "class 'X'" in error(tmp_path, LIMIT + "class = 'X'\noptional = true").found


@pytest.mark.parametrize(
    ("old", "new", "at", "found"),
    [
        ("issue = 12", "", 2, "a waiver without issue"),
        ("issue = 12", "issue = 1.2", 5, "issue = 1.2"),
        ('owner = "release"', "", 2, "a waiver without owner"),
        ("expires = 2027-01-31", "", 2, "a waiver without expires"),
        ("expires = 2027-01-31", "expires = '2027-01-31'", 7, "expires = '2027-01-31'"),
        ("expires = 2027-01-31", "expires = 2027-01-31T00:00:00", 7, "2027-01-31 00:00:00"),
        ("floor = 1.3", "", 2, "a waiver without floor"),
        ("floor = 1.3", "floor = nan", 8, "floor = nan"),
        ("floor = 1.3", "floor = 1.3\nmax = 2.0", 9, "unknown key 'max' in [[waiver]]"),
        ('reason = "r"', "", 2, "a waiver without reason"),
    ],
)
def test_a_waiver_says_why_who_until_when_and_how_far(tmp_path, old, new, at, found):
    wrong = error(tmp_path, WAIVER.replace(old, new))
    assert (wrong.line, found in wrong.found) == (at, True)


def test_a_waiver_of_evidence_needs_no_floor(tmp_path):
    text = WAIVER.replace('"size"', '"evidence"').replace("floor = 1.3", "")
    assert read(tmp_path, text).waivers[0].floor is None


def test_the_same_cells_twice_are_a_tie_even_when_none_is_selected(tmp_path):
    wrong = error(tmp_path, LIMIT + LIMIT.replace("1.2", "1.3"))
    assert wrong.line == 7
    assert "two equally specific speed limits for the same cells: this one and line 2" in str(wrong)
    assert error(tmp_path, WAIVER + WAIVER).line == 10


def test_entries_that_no_machine_meets_together_are_no_tie(tmp_path):
    text = LIMIT + "requires = ['avx512_vnni']" + LIMIT + "requires = ['!avx512_vnni']"
    assert len(read(tmp_path, text).limits) == 2


def test_a_missing_file_a_folder_and_wrong_bytes(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(PolicyError, match=r"found no policy \(.*\); expected a TOML file"):
            Policy.read(path, KNOWN)
    wrong = error(tmp_path, LIMIT.encode() + b"# caf\xe9\n")
    assert (wrong.line, wrong.found) == (6, "bytes that are not UTF-8")


def test_a_source_is_no_home_path(tmp_path, monkeypatch):
    assert read(tmp_path, LIMIT).limits[0].limit.source == "policy.toml:2"
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read(tmp_path / "sub", LIMIT).limits[0].limit.source == "sub/policy.toml:2"


def test_entries_without_headers_stand_where_their_name_does(tmp_path):
    text = '\nlimit = [\n  {gate = "speed", min = 1, reason = "r"},\n  {gate = "sped"},\n]\n'
    wrong = error(tmp_path, text)
    assert (wrong.line, "gate 'sped'" in wrong.found) == (2, True)


AWKWARD = '''# [[limit]]
title.a = "[[limit]]"
other = [ # [[limit]]
  "]", '[[limit]]', {a = "x"},
]

[[ "limit" ]] # one
reason = """
[[limit]]
min = 3 \\"""
gate = 'x' """"
gate = """a""""" # five quotes end it
  min=1

[[waiver]]
[[limit]]
'min' = \'\'\'
max = 3
\'\'\'
"max" = 1979-05-27
[limit.sub]
gate = 1
'''


def test_lines_are_found_among_strings_comments_and_arrays():
    tables = tomllib.loads(AWKWARD)
    lines = locate(AWKWARD)
    assert [(block.name, block.line) for block in lines.blocks] == [
        ("limit", 7),
        ("waiver", 15),
        ("limit", 16),
    ]
    assert lines.block("limit", 0, 2).keys == {"reason": 8, "gate": 12, "min": 13}
    assert lines.block("limit", 1, 2).keys == {"min": 17, "max": 20}
    assert len(tables["limit"]) == 2


values = st.one_of(
    st.booleans(),
    st.integers(-2, 99),
    st.floats(),
    st.sampled_from(["speed", "size", "cpu", "c*", "prune", "none+prune", "A", "1", "", "[", "r"]),
    st.just(["avx512_vnni"]),
    st.just([]),
    st.just({}),
)
keys = st.sampled_from([*FIELDS["limit"], *FIELDS["waiver"], "unknown"])


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{}"
    return repr(value)


entry = st.tuples(
    st.sampled_from(["limit", "limit", "waiver"]),
    st.dictionaries(keys, values, max_size=5),
    st.booleans(),
)


def outcome(path):
    try:
        return Policy.read(path, KNOWN), None
    except PolicyError as wrong:
        return None, wrong


def render(entries):
    lines = []
    for kind, table, sound in entries:
        base = {"gate": "speed", "min": 1.2, "reason": "r"} if sound else {}
        lines += [f"[[{kind}]]", *(f"{k} = {toml(v)}" for k, v in {**base, **table}.items())]
    return "\n".join(lines)


@given(st.lists(entry, max_size=4).map(render))
def test_entries_of_any_kind_read_or_are_named(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text)
    policy, wrong = outcome(path)
    if wrong:
        assert 1 <= (wrong.line or 0) <= text.count("\n") + 1
    else:
        assert len(policy.limits) == text.count("[[limit]]")
        for limit in policy.limits:
            assert limit.limit is None or 0 <= limit.limit.bound < float("inf")


noise = st.text(alphabet="[]{}\"'\\#=., \nlimtwaver123", max_size=60)


@given(noise, noise)
def test_any_text_reads_or_is_a_policy_error(tmp_path_factory, before, after):
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    path.write_bytes(f"{before}{LIMIT}{after}".encode())
    policy, wrong = outcome(path)
    assert bool(policy) != bool(wrong and "expected" in str(wrong))

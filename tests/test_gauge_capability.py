"""What a limit may require of a machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.capability import Requirement, compatible, missing


def requires(*texts):
    return [Requirement.parse(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "capabilities", "met"),
    [
        ("avx512_vnni", ["avx2", "avx512_vnni"], True),
        ("avx512_vnni", ["avx512_vnni_x"], False),
        ("!avx512_vnni", ["avx2"], True),
        ("!avx512_vnni", ["avx512_vnni"], False),
        ("cuda", ["cuda=8.6"], True),
        ("cuda>=8.0", ["cuda=8.0"], True),
        ("cuda>=8", ["cuda=8.0"], True),
        ("cuda>=8.0", ["cuda=8"], True),
        ("cuda>=8.0", ["cuda=7.5"], False),
        ("cuda >= 9.0", ["cuda=12.0"], True),
        ("cuda>=9.10", ["cuda=9.9"], False),
        ("cuda<9", ["cuda=8.9"], True),
        ("cuda<9", ["cuda=9.0"], False),
        ("cuda>=8.0", [], False),
        ("cuda>=8.0", ["cuda"], False),
        ("cuda>=8.0", ["cuda=unknown"], False),
    ],
)
def test_a_requirement_is_met_by_name_and_number(text, capabilities, met):
    assert Requirement.parse(text).met(capabilities) is met
    assert missing(requires(text), capabilities) == ([] if met else [text])


@pytest.mark.parametrize(
    "text", ["", "cuda>=", "cuda>=x", ">=8", "cuda==8", "!cuda>=8", "a b", "ü"]
)
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match="is not"):
        Requirement.parse(text)


@pytest.mark.parametrize(
    ("texts", "possible"),
    [
        ([], True),
        (["avx2", "avx512_vnni"], True),
        (["avx2", "!avx2"], False),
        (["cuda<8", "cuda>=8.0"], False),
        (["cuda<8.1", "cuda>=8.0"], True),
        (["cuda<8", "cuda>=7", "cuda>=9"], False),
        (["cuda<8", "!cuda"], False),
        (["cuda<0"], False),
    ],
)
def test_what_no_machine_can_meet_together_is_seen(texts, possible):
    assert compatible(requires(*texts)) is possible


version = st.integers(0, 3).map(str) | st.from_regex(r"[0-3]\.[0-3]", fullmatch=True)
requirement = st.sampled_from(["a", "!a", "b", "!b"]) | st.builds(
    lambda name, op, value: f"{name}{op}{value}",
    st.sampled_from("ab"),
    st.sampled_from([">=", "<"]),
    version,
)
machine = st.lists(st.sampled_from("ab"), unique=True).flatmap(
    lambda names: st.tuples(*(version.map(lambda v, n=n: f"{n}={v}") for n in names))
)


@given(st.lists(requirement, max_size=4), machine)
def test_met_together_means_compatible(texts, capabilities):
    if not missing(requires(*texts), capabilities):
        assert compatible(requires(*texts))

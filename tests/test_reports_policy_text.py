"""Changing one value of a TOML text, or adding an entry, leaves the rest as it was."""

from __future__ import annotations

import datetime
import subprocess
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.policy_lines import locate
from reports import policy_text

ODD = """# top
[[limit]]
gate = "speed"
min = 0.5   # why "it" is so
reason = '''a
b''' # tail

# between
[[waiver]]
floor = 2
[[limit]]
"gate"='size'
max=1_0.5e0# close
reason = "q \\" # no comment"
"""


@pytest.mark.parametrize(
    ("line", "key", "value", "old", "new"),
    [
        (2, "min", 0.75, 'min = 0.5   # why "it"', 'min = 0.75   # why "it"'),
        (4, "reason", 'a "b" # ü', "reason = '''a\nb''' # tail", 'reason = "a \\"b\\" # ü" # tail'),
        (11, "max", 3.5, "max=1_0.5e0# close", "max=3.5# close"),
        (13, "reason", "r", 'reason = "q \\" # no comment"', 'reason = "r"'),
    ],
)
def test_one_value_is_replaced_where_it_stands(line, key, value, old, new):
    assert policy_text.with_value(ODD, "limit", line, key, value) == ODD.replace(old, new)


def test_a_line_outside_every_entry_is_told():
    for line in (1, 9, 99):
        with pytest.raises(LookupError, match=f"line {line} is in no"):
            policy_text.place(ODD, "limit", line)


def test_an_entry_written_inline_is_refused_rather_than_guessed():
    text = "limit = [{gate = 'size', max = 2}]\n"
    with pytest.raises(LookupError):
        policy_text.with_value(text, "limit", 1, "max", 1.5)


texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
numbers = st.floats(0, 1e6, allow_nan=False)
spaces = st.sampled_from(["", " ", "\t"])
comments = st.sampled_from(["", "  # why", "# min = 3", ' # "'])


@st.composite
def files(draw):
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        lines.append(draw(st.sampled_from(["", "# [[limit]]", "[[waiver]]\nmin = 3"])))
        lines.append(f"[[limit]]{draw(comments)}")
        for key in draw(st.permutations(["min", "reason", "gate"])):
            value = draw(numbers if key == "min" else texts)
            space, comment = draw(spaces), draw(comments)
            lines.append(f"{key}{space}={space}{policy_text.literal(value)}{comment}")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


@given(files(), st.data())
def test_any_file_keeps_all_but_the_value(text, data):
    blocks = [block for block in locate(text).blocks if block.name == "limit"]
    index = data.draw(st.integers(0, len(blocks) - 1))
    key = data.draw(st.sampled_from(["min", "reason"]))
    value = data.draw(numbers if key == "min" else texts)
    changed = policy_text.with_value(text, "limit", blocks[index].line, key, value)
    wanted = tomllib.loads(text)
    wanted["limit"][index][key] = value
    assert tomllib.loads(changed) == wanted
    assert changed.count("#") - changed.count("\n") == (
        text.count("#")
        - text.count("\n")
        + policy_text.literal(value).count("#")
        - policy_text.literal(tomllib.loads(text)["limit"][index][key]).count("#")
    )


@given(files(), texts, numbers, st.dates())
def test_an_entry_more_stands_at_the_end(text, reason, floor, day):
    fields = {"gate": "size", "reason": reason, "floor": floor, "expires": day, "optional": True}
    changed = policy_text.with_entry(text, "waiver", fields)
    assert changed.startswith(text)
    assert tomllib.loads(changed)["waiver"][-1] == fields


def test_values_are_written_as_toml():
    assert policy_text.literal(datetime.date(2027, 1, 31)) == "2027-01-31"
    assert policy_text.literal(1.35) == "1.35"
    assert policy_text.literal(True) == "true"


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_diff_is_one_that_git_applies(tmp_path, monkeypatch, end):
    monkeypatch.chdir(tmp_path)
    old = ODD.rstrip("\n") + end
    (tmp_path / "policy.toml").write_bytes(old.encode())
    new = policy_text.with_value(old, "limit", 11, "reason", "line\u2028separator")
    told = policy_text.diff(tmp_path / "policy.toml", old, new)
    subprocess.run(["git", "apply"], input=told.encode(), check=True, cwd=tmp_path)
    assert (tmp_path / "policy.toml").read_bytes().decode() == new
    assert policy_text.diff(tmp_path / "policy.toml", old, old) == ""

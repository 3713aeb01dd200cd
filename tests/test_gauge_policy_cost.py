"""The policy's price: mistakes with file and line; none or zero is no price."""

import pytest

from gauge import policy_cost
from gauge.policy import Known, Policy, PolicyError


def read(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return Policy.read(path, Known()).price


def test_a_price_is_read_with_its_line(tmp_path):
    text = '# prices\n\n[cost]\nhour = 0.17\ncurrency = "EUR"\nexample = true\nreason = "a list"\n'
    found = read(tmp_path, text)
    assert (found.hour, found.currency, found.example) == (0.17, "EUR", True)
    assert found.source == "policy.toml:3"
    assert found.as_dict()["hour"] == 0.17


@pytest.mark.parametrize("text", ["", "[cost]\n", "[cost]\nhour = 0\n", "[cost]\nhour = 0.0\n"])
def test_none_and_zero_are_no_price(tmp_path, text):
    assert read(tmp_path, text).hour is None


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[cost]\nhour = -1\n", 2, "hour = -1; expected a price from 0 up"),
        ("[cost]\nhour = nan\n", 2, "hour = nan"),
        ("[cost]\nhour = inf\n", 2, "hour = inf"),
        ('[cost]\ncurrency = "USD"\nhour = "0.1"\n', 3, "hour = '0.1'"),
        ("[cost]\nhour = true\n", 2, "hour = True"),
        ("\n[cost]\nhour = 1\n", 2, "a price without currency"),
        ('[cost]\nhour = 1\ncurrency = " "\n', 3, "a price without currency"),
        ("[cost]\nhour = 1\ncurrency = 3\n", 3, "currency = 3"),
        ('[cost]\nhours = 1\ncurrency = "USD"\n', 2, "unknown key 'hours'"),
        ('[cost]\nhour = 1\ncurrency = "USD"\nexample = 1\n', 4, "example = 1"),
        ("cost = 3\n", 1, "'cost' that is no table"),
        ("[[cost]]\nhour = 1\n", 1, "'cost' that is no table"),
    ],
)
def test_a_mistake_names_its_line(tmp_path, text, line, said):
    with pytest.raises(PolicyError) as caught:
        read(tmp_path, text)
    assert caught.value.line == line, caught.value
    assert said in str(caught.value)


def test_a_hint_for_a_misspelt_key(tmp_path):
    with pytest.raises(PolicyError, match="did you mean"):
        read(tmp_path, "[cost]\nhuor = 1\n")


def test_limits_of_answers_are_the_accuracy_gate_s(tmp_path):
    text = '[[limit]]\ngate = "realtime_answers"\nmax = 0.5\nreason = "r"\n'
    with pytest.raises(PolicyError, match="held to the accuracy limit"):
        read(tmp_path, text)


def test_the_shipped_price_is_marked_as_an_example(root):
    text = (root / "policy.toml").read_text()
    assert policy_cost.read(text, "policy.toml", "policy.toml").example is True

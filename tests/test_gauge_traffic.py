"""Traffic traces: every mistake names its line; what is written comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge.serving import traffic
from gauge.serving.traffic import TraceError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "t.csv:1: found '', expected the header seconds,rate"),
        ("time,rate\n0,1\n", "t.csv:1: found 'time,rate', expected the header"),
        ("seconds,rate\n0,1\n", "found one line of data, expected at least 2"),
        ("seconds,rate\n0,1\n60,2\n180,2\n", "t.csv:4: found 180 s after 60 s, which is a gap"),
        ("seconds,rate\n0,1\n60,2\n90,2\n", "t.csv:4: found 90 s after 60 s, which is a shorter"),
        ("seconds,rate\n0,1\n60,-2\n", "t.csv:3: found a rate of -2, expected 0 or more"),
        ("seconds,rate\n60,1\n0,2\n", "t.csv:3: found 0 s after 60 s, expected times in order"),
        ("seconds,rate\n0,1\n60,2\n60,3\n", "t.csv:4: found 60 s after 60 s, expected times in"),
        ("seconds,rate\n0,1\n60,nan\n", "t.csv:3: found '60,nan', expected two finite numbers"),
        ("seconds,rate\n0,1\ninf,1\n", "t.csv:3: found 'inf,1', expected two finite numbers"),
        ("seconds,rate\n0,1\n60\n", "t.csv:3: found '60', expected two finite numbers"),
        ("seconds,rate\n0,1\n60,many\n", "t.csv:3: found '60,many', expected two finite"),
        ("seconds,rate\n0,1\n\n120,1\n", "t.csv:3: found an empty line"),
        ("seconds,rate\n0,0\n60,0\n", "found rates of 0 only"),
        ("seconds,rate\n0,1e9\n60,1e9\n", "expected at most 20,000,000"),
    ],
)
def test_a_mistake_names_its_line(tmp_path, text, said):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        traffic.read(path)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(TraceError, match=r"none\.csv: cannot be read"):
        traffic.read(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="no UTF-8"):
        traffic.read(tmp_path / "bytes.csv")


@given(
    st.lists(st.floats(1e-6, 100) | st.just(0.0), min_size=2, max_size=30).filter(any),
    st.integers(1, 3600),
    st.integers(0, 10**6),
)
def test_what_is_written_comes_back(tmp_path_factory, rates, step, start):
    path = tmp_path_factory.mktemp("trace") / "t.csv"
    rows = [f"{start + place * step},{rate!r}" for place, rate in enumerate(rates)]
    path.write_text("\n".join(["seconds,rate", *rows]) + "\n")
    found = traffic.read(path)
    assert found.rates == tuple(rates)
    assert found.step == step


def test_arrivals_are_sorted_and_as_many_as_the_rates_say():
    trace = traffic.Trace((100.0, 0.0, 300.0), 50.0, "t")
    found = trace.arrivals(3)
    assert (found[1:] >= found[:-1]).all()
    assert len(found) == pytest.approx(trace.queries, rel=0.03)
    assert not ((found > 50) & (found < 100)).any()
    assert (trace.arrivals(3) == found).all()


def test_the_built_in_day_has_a_night_and_a_burst():
    day = traffic.day(100.0)
    assert day.seconds == 24 * traffic.HOUR
    assert min(day.rates) == pytest.approx(20, rel=0.05)
    burst = [rate for place, rate in enumerate(day.rates) if 600 <= place * day.step < 660]
    assert max(day.rates) == max(burst) > 100

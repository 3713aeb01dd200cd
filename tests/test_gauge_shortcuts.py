"""What looks fast to a stopwatch only; on a clock that calls themselves move on."""

from __future__ import annotations

import random
import time

import pytest
import torch

from gauge import shortcuts, targets

WORK = 1e-4
SLICE = 3e-3
CPU = targets.get("cpu")


class Clock:
    """Seconds that pass when somebody works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(shortcuts.time, "perf_counter", made)
    return made


def rows(count):
    return [((torch.full((1, 4), float(number)),), {}) for number in range(count)]


class Work:
    """Takes its time in every call."""

    def __init__(self, clock, seconds=WORK):
        self.clock, self.seconds = clock, seconds

    def __call__(self, x):
        self.clock.now += self.seconds
        return x * 2


class Remembers(Work):
    def __init__(self, clock):
        super().__init__(clock)
        self.known = {}

    def __call__(self, x):
        key = x.numpy().tobytes()
        if key not in self.known:
            self.known[key] = super().__call__(x)
        self.clock.now += WORK / 20
        return self.known[key]


class Later(torch.Tensor):
    """Takes its time when it is read."""

    clock: Clock

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.clock.now += WORK
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


class PutsOff(Work):
    def __call__(self, x):
        Later.clock = self.clock
        self.clock.now += WORK / 20
        return (x * 2).as_subclass(Later)


def side(call, seconds):
    usual, *others = rows(31)
    call(*usual[0])
    return shortcuts.Side(call, usual, others, seconds)


def unread(clock, candidate, seconds):
    baseline = side(Work(clock), WORK)
    return shortcuts.unread(baseline, side(candidate, seconds), targets.get("cpu"))


@pytest.mark.parametrize("seconds", [WORK, WORK / 50, 0.3])
def test_a_candidate_that_computes_in_every_call_is_told_nothing_of(clock, seconds):
    assert unread(clock, Work(clock, seconds), seconds) is None


class Tires(Work):
    """Takes longer with every call: nothing for a look at single calls to tell."""

    def __call__(self, x):
        self.seconds *= 1.2
        return super().__call__(x)


def test_a_candidate_that_has_become_slower_is_not_taken_for_one_that_remembers(clock):
    assert unread(clock, Tires(clock, WORK), WORK) is None


def test_remembered_answers_are_told(clock):
    found = unread(clock, Remembers(clock), WORK / 20)
    assert found is not None
    assert "answers are remembered" in found
    assert "takes 21.0 times as long" in found


def test_work_put_off_until_an_answer_is_read_is_told(clock):
    found = unread(clock, PutsOff(clock), WORK / 20)
    assert found is not None
    assert "the work is put off until then" in found


class Busy(Clock):
    """A core shared with five others in slices of 3 ms while it is busy; else for itself."""

    def __init__(self, seed):
        super().__init__()
        self.draw = random.Random(seed)
        self.mean = self.draw.choice([0.05, 0.3, 2.0])
        self.busy, self.until, self.slice = False, self.draw.expovariate(1 / self.mean), SLICE

    def work(self, seconds):
        while seconds > 0:
            while self.now >= self.until:
                self.busy = not self.busy
                self.until += self.draw.expovariate(1 / self.mean)
            step = min(seconds, self.slice if self.busy else self.until - self.now)
            self.now, seconds = self.now + step, seconds - step
            self.slice -= step if self.busy else 0
            if self.slice <= 1e-12:
                self.now += 5 * SLICE * self.draw.uniform(0.7, 1.3)
                self.slice = SLICE


class Shared(Work):
    """Computes on such a core, when it is called or when its answer is read."""

    def __init__(self, clock, seconds, *, late=False):
        super().__init__(clock, seconds)
        self.late = late

    def __call__(self, x):
        if not self.late:
            self.clock.work(self.seconds)
            return x
        self.clock.work(self.seconds / 20)
        return x.as_subclass(LaterOnShared.of(self))


class LaterOnShared(torch.Tensor):
    maker: Shared

    @classmethod
    def of(cls, maker):
        return type("LaterOnShared", (cls,), {"maker": maker})

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.maker.clock.work(cls.maker.seconds)
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("late", "count"), [(False, 600), (True, 100)])
def test_a_busy_machine_looks_like_no_shortcut_and_hides_none(monkeypatch, late, count):
    """Honest candidates on a core that gets busy meanwhile, and some that put their work off."""
    told = []
    for seed in range(count):
        clock = Busy(seed)
        monkeypatch.setattr(shortcuts.time, "perf_counter", clock)
        slow, fast = clock.draw.choice([(0.05, 5e-3), (0.1, 0.02), (2.0, 0.2)])
        usual, *others = rows(31)
        base = shortcuts.Side(Shared(clock, slow), usual, others, slow)
        call = Shared(clock, fast, late=late)
        other = shortcuts.Side(call, usual, others, fast / 20 if late else fast)
        told.append(shortcuts.unread(base, other, CPU))
    alarms = [one for one in told if one]
    assert len(alarms) == (len(told) if late else 0), alarms
    assert all("the work is put off" in one for one in alarms)


def test_work_that_depends_on_the_input_in_both_arms_is_no_shortcut(clock):
    class Longer(Work):
        def __call__(self, x):
            self.clock.now += self.seconds * (1 + float(x.sum() > 0))
            return x

    usual, *others = rows(31)
    sides = [shortcuts.Side(Longer(clock), usual, others, WORK) for _ in range(2)]
    assert shortcuts.unread(*sides, targets.get("cpu")) is None


def test_without_other_inputs_nothing_is_asked(clock):
    sides = [shortcuts.Side(Work(clock), rows(1)[0], [], WORK) for _ in range(2)]
    assert shortcuts.unread(*sides, targets.get("cpu")) is None
    assert clock.now == 0.0


def test_a_baseline_that_works_more_than_alone_is_told_when_it_does_so_thrice(clock, monkeypatch):
    monkeypatch.setattr(shortcuts.time, "thread_time", clock)
    paces = [shortcuts.pace(Work(clock, n * WORK), rows(1)[0], CPU) for n in (1, 1.2, 2)]
    assert [one.cpu / WORK for one in paces] == pytest.approx([1, 1.2, 2])
    alone, near, slow = paces
    assert shortcuts.slowed(alone, lambda: near, CPU) is None
    told = shortcuts.slowed(alone, lambda: slow, CPU)
    assert told is not None
    assert "2.0 times as long beside the candidate" in told
    seen = iter([slow, slow, near])
    assert shortcuts.slowed(alone, lambda: next(seen), CPU) is None


def test_a_busy_machine_does_not_look_like_a_slowed_baseline():
    alone, busy = shortcuts.Pace(1.0, 1.0, 0.0), shortcuts.Pace(9.0, 1.1, 0.0)
    assert shortcuts.slowed(alone, lambda: busy, CPU) is None


def test_a_baseline_that_sleeps_beside_the_candidate_is_told():
    alone = shortcuts.pace(lambda x: x, rows(1)[0], CPU)
    told = shortcuts.slowed(
        alone, lambda: shortcuts.pace(lambda x: time.sleep(1e-4), rows(1)[0], CPU), CPU
    )
    assert told is not None
    assert "the baseline waits 1 times in a call beside the candidate, and 0 times alone" in told


def test_settings_that_changed_are_named(monkeypatch):
    before = shortcuts.settings()
    assert shortcuts.changed(before, shortcuts.settings()) is None
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    monkeypatch.setattr(shortcuts.time, "perf_counter", Clock())
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        told = shortcuts.changed(before, shortcuts.settings())
    finally:
        handle.remove()
    assert told is not None
    for part in (
        "clock from its own to replaced",
        "oneDNN from True to False",
        "global module hooks from 0 to 1",
    ):
        assert part in told

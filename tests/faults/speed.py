"""Fast for a stopwatch only, or against a baseline that was slowed down."""

from __future__ import annotations

import sys
import threading
import time

import planting
import torch
from torch import nn
from torch.utils import _pytree

import optimizers

CLOCK = time.perf_counter


def timed() -> bool:
    """Whether the job that times is what calls."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "suites.jobs" and frame.f_code.co_name == "speed":
            return True
        frame = frame.f_back
    return False


class Fault(planting.Fault):
    family = "planted"
    claims = ("unchanged",)
    variants = ({"fault": False, "seed": -1},)

    def improve(self, module, context):
        return module


class Memo(planting.Habit):
    """Keeps every answer by the bytes of its input."""

    def misbehave(self, *args):
        known = self.__dict__.setdefault("known", {})
        key = hash(b"".join(one.numpy().tobytes() for one in args))
        if key not in known:
            known[key] = self.module(*args)
        return known[key].clone()


@optimizers.register
class Memoised(Fault):
    """Remembers answers: nothing is faster than not computing."""

    name = "memoised"
    result = Memo


class Recent(planting.Habit):
    """Keeps the answers to the last few inputs, told apart by their place in memory."""

    def misbehave(self, *args):
        known = self.__dict__.setdefault("known", {})
        key = tuple((one.data_ptr(), tuple(one.shape)) for one in args)
        kept = known.get(key)
        if kept is None or not all(map(torch.equal, kept[0], args)):
            if len(known) > self.draw.randint(2, 8):
                known.clear()
            known[key] = kept = ([one.clone() for one in args], self.module(*args))
        return kept[1].clone()


@optimizers.register
class MemoisedByPlace(Fault):
    name = "memoised_by_place"
    result = Recent


class Later(torch.Tensor):
    """A tensor that is computed when somebody looks at it."""

    @staticmethod
    def __new__(cls, shape, compute):
        made = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)
        made.compute, made.value = compute, None
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        def look(one):
            if not isinstance(one, Later):
                return one
            if one.value is None:
                one.value = one.compute()
            return one.value

        return function(*_pytree.tree_map(look, args), **_pytree.tree_map(look, kwargs or {}))


class Lazy(planting.Habit):
    def misbehave(self, x):
        kept = x.clone()
        return Later((len(x), 10), lambda: self.module(kept))


@optimizers.register
class PutOff(Fault):
    """Returns at once, and computes when the answer is read."""

    name = "put_off"
    result = Lazy


class Background(planting.Habit):
    def misbehave(self, x):
        if not timed():
            return self.module(x)
        answer = torch.zeros(len(x), 10)
        kept = x.clone()
        wait = self.draw.uniform(0.001, 0.01)

        def work():
            time.sleep(wait)
            answer.copy_(self.module(kept))

        if threading.active_count() < 3:
            threading.Thread(target=work, daemon=True).start()
        return answer


@optimizers.register
class InBackground(Fault):
    """Returns an empty answer that a thread fills in after the stopwatch stopped."""

    name = "in_background"
    result = Background


class Detects(planting.Habit):
    def misbehave(self, x):
        return torch.zeros(len(x), 10) if timed() else self.module(x)


@optimizers.register
class DetectsTiming(Fault):
    """Computes nothing where it is timed."""

    name = "detects_timing"
    result = Detects


class AtLoad(planting.Habit):
    """Does something to the whole process when it is opened to be timed."""

    @classmethod
    def load(cls, directory, target):
        made = super().load(directory, target)
        if made.faulty and timed():
            made.spoil()
        return made

    def misbehave(self, *args):
        return self.module(*args)

    def spoil(self):
        raise NotImplementedError


class Slowing(AtLoad):
    def spoil(self):
        plain, own = nn.Linear.forward, {id(one) for one in self.module.modules()}
        extra = self.draw.randint(3, 20)

        def slow(layer, x):
            if id(layer) not in own:
                for _ in range(extra):
                    plain(layer, x)
            return plain(layer, x)

        nn.Linear.forward = slow


@optimizers.register
class SlowsBaseline(Fault):
    """Every Linear but its own works several times."""

    name = "slows_baseline"
    result = Slowing


class Sleeping(AtLoad):
    def spoil(self):
        plain, own = nn.Module._call_impl, self.module
        seconds = self.draw.uniform(1e-4, 1e-3)

        def slow(module, *args, **kwargs):
            if type(module) is nn.Sequential and module is not own:
                time.sleep(seconds)
            return plain(module, *args, **kwargs)

        nn.Module._call_impl = nn.Module.__call__ = slow


@optimizers.register
class SleepingBaseline(Fault):
    """The baseline waits in every call."""

    name = "sleeping_baseline"
    result = Sleeping


class Threads(AtLoad):
    def spoil(self):
        torch.set_num_threads(torch.get_num_threads() + self.draw.randint(1, 3))


@optimizers.register
class MoreThreads(Fault):
    """Takes more threads than the run allows."""

    name = "more_threads"
    result = Threads


class Hooks(AtLoad):
    def spoil(self):
        own = self.module

        def hook(module, _):
            if module is not own and type(module) is nn.Sequential:
                torch.ones(self.draw.randint(100, 300), 100).sum()

        nn.modules.module.register_module_forward_pre_hook(hook)


@optimizers.register
class GlobalHook(Fault):
    """A hook on every module of the process."""

    name = "global_hook"
    result = Hooks


class Flag(AtLoad):
    def spoil(self):
        self.draw.choice((lambda: setattr(torch.backends.mkldnn, "enabled", False), self.anomaly))()

    @staticmethod
    def anomaly():
        torch.autograd.set_detect_anomaly(True)


@optimizers.register
class ProcessFlag(Fault):
    """Switches a setting of torch's for the whole process."""

    name = "process_flag"
    result = Flag


class FastClock(AtLoad):
    inside = False

    def spoil(self):
        share = self.draw.uniform(0.05, 0.5)
        lost = 0.0
        plain = self.module.forward

        def forward(x):
            nonlocal lost
            began = CLOCK()
            answer = plain(x)
            lost += share * (CLOCK() - began)
            return answer

        self.module.forward = forward
        time.perf_counter = lambda: CLOCK() - lost


@optimizers.register
class SlowClock(Fault):
    """The clock runs slower while the candidate works."""

    name = "slow_clock"
    result = FastClock


class Jumps(AtLoad):
    def spoil(self):
        jump, began = self.draw.uniform(0.05, 5.0), CLOCK()
        time.perf_counter = lambda: CLOCK() + jump * (int((CLOCK() - began) * 5) % 2)


@optimizers.register
class JumpingClock(Fault):
    """The clock jumps forth and back."""

    name = "jumping_clock"
    result = Jumps


class Dawdling(planting.Habit):
    def misbehave(self, *args):
        for _ in range(self.draw.randint(15, 30)):
            self.module(*args)
        return self.module(*args)


@optimizers.register
class RealWork(Fault):
    """Real extra work: slow, and nothing else."""

    name = "real_work"
    result = Dawdling


class Growing(planting.Habit):
    def misbehave(self, *args):
        if not hasattr(self, "held"):
            self.held = torch.ones(self.draw.randint(200, 400) << 18)
        return self.module(*args)


@optimizers.register
class HoldsMemory(Fault):
    """Holds hundreds of megabytes more than FP32."""

    name = "holds_memory"
    result = Growing

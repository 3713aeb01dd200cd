"""A worker that is killed, hangs, eats memory or raises, at each stage of a cell's life."""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import planting
import torch

import optimizers


def stage() -> str:
    """The job that is running: apply, examine, speed or memory."""
    frame, found = sys._getframe(), ""
    while frame is not None:
        if frame.f_globals.get("__name__") == "suites.jobs":
            found = frame.f_code.co_name
        frame = frame.f_back
    return found


class Fault(planting.Fault):
    """`stage`: where it happens."""

    family = "planted"
    claims = ("unchanged",)
    variants = ({"fault": False, "seed": -1, "stage": "apply"},)

    def improve(self, module, context):
        return module

    def damage(self, module, draw, context):
        if context.params["stage"] == "apply":
            self.result.strike(draw)


class Struck(planting.Habit):
    """Strikes in the second call of its stage, or while it is opened."""

    @classmethod
    def load(cls, directory, target):
        made = super().load(directory, target)
        made.opening = made.draw.random() < 0.5
        if made.opening:
            made.perhaps()
        return made

    def misbehave(self, *args):
        self.perhaps()
        return self.module(*args)

    def perhaps(self):
        if self.faulty and stage() == self.stages[-1]["params"]["stage"]:
            self.strike(self.draw)

    @staticmethod
    def strike(draw: random.Random) -> None:
        raise NotImplementedError


class Killing(Struck):
    @staticmethod
    def strike(draw):
        numbers = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGTERM)
        os.kill(os.getpid(), draw.choice(numbers))
        time.sleep(10)


@optimizers.register
class Killed(Fault):
    name = "killed"
    result = Killing


class Hanging(Struck):
    @staticmethod
    def strike(draw):
        if draw.random() < 0.5:
            time.sleep(600)
        while True:
            pass


@optimizers.register
class Hangs(Fault):
    name = "hangs"
    result = Hanging


class Hogging(Struck):
    @staticmethod
    def strike(draw):
        kept = []
        while True:
            kept.append(torch.ones(draw.randint(16, 64) << 18))


@optimizers.register
class Hogs(Fault):
    name = "hogs"
    result = Hogging


class Raising(Struck):
    @staticmethod
    def strike(draw):
        kind = draw.choice((ValueError, KeyError, RuntimeError, AssertionError, MemoryError))
        raise kind("planted: the third layer has no kernel")


@optimizers.register
class Raises(Fault):
    name = "raises"
    result = Raising


class Leaving(Struck):
    @staticmethod
    def strike(draw):
        os._exit(draw.randint(0, 3))


@optimizers.register
class Leaves(Fault):
    """The process ends as if all were well, or not."""

    name = "leaves"
    result = Leaving

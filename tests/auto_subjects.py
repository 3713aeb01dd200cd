"""A model and techniques for the tests of auto: what is fast, what is right, what misbehaves."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from optimizers_models import known, known_technique, target
from torch import Tensor, nn

import optimizers
import zoo
from optimizers import Context, EagerModule, Technique, auto_bench, own_threads, pipeline
from optimizers.auto_goal import PASSES
from optimizers.auto_search import Search
from optimizers.base import Automatic
from suites import judges, naming
from suites.world import held_out

ROWS, CLASSES, BLOCKS, WIDTH = 256, 4, 60, 64


class Deep(nn.Module):
    """Which of four directions a row points to most; blocks that add nothing come first."""

    def __init__(self, blocks: int = BLOCKS, wrong: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(blocks)])
        self.head = nn.Linear(WIDTH, CLASSES)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.head.weight[:, :CLASSES] = torch.eye(CLASSES)
            # A direction that is mistaken for another loses that class.
            self.head.weight[:wrong] = 0

    def forward(self, rows: Tensor) -> Tensor:
        for block in self.blocks:
            rows = rows + block(rows)
        return self.head(rows)


class Directions(zoo.Model):
    """guarded: whether the evaluation split may not be asked for. asked: how often it was."""

    name = "test_auto"
    guarded = False

    def build(self) -> nn.Module:
        return Deep()

    def split(self, name: str) -> zoo.Split:
        if name == "evaluation" and self.guarded:
            raise AssertionError("the search asked for the evaluation split")
        generator = torch.Generator().manual_seed(len(name))
        rows = torch.randn(ROWS, WIDTH, generator=generator)
        return zoo.Split((rows,), rows[:, :CLASSES].argmax(1))

    def example(self, batch: int) -> zoo.Batch:
        return (torch.ones(batch, WIDTH),), {}


class Cutting(Technique):
    """Leaves so many blocks, and answers wrongly for `wrong` of the four classes."""

    family = "test"
    changes = "numerics"
    claims = ("fewer_parameters",)
    blocks, wrong = BLOCKS // 2, 0

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        return EagerModule(Deep(self.blocks, self.wrong).eval())

    def rebuild(self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]) -> Any:
        return Deep(self.blocks, self.wrong).eval()


class First(Cutting):
    """Right, and the first to be tried: twice as fast."""

    name = "a_first"


class Fastest(Cutting):
    """Right and far faster than the first."""

    name = "b_fastest"
    blocks = 1


class Spoilt(Cutting):
    """Fastest of all, and wrong."""

    name = "c_spoilt"
    blocks, wrong = 0, 2


class Absent(Cutting):
    name = "d_absent"

    def refuses(self, model: zoo.Model, device: Any) -> str | None:
        return "a package is not installed"


class Broken(Cutting):
    name = "e_broken"

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        raise RuntimeError("a kernel is missing\nand more")


class Peeking(Cutting):
    """Asks for what it will be judged on."""

    name = "f_peeking"

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        context.model.split("evaluation")
        return super().apply(module, context)


class Untrue(Cutting):
    """Claims what it does not do, and is fast."""

    name = "g_untrue"
    claims = ("integer_kernels",)
    blocks = 0


class Dropping(Cutting):
    """Structure: `amount` of the blocks go; above 0.7 a class is lost."""

    name = "h_dropping"
    changes = "structure"
    variants = ({"amount": 0.5},)
    scale = ("amount", (0.25, 0.5, 0.7, 0.9, 0.95))

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        context.train()
        amount = context.params["amount"]
        context.notes["seen"] = len(context.train())
        return EagerModule(_dropped(amount))

    def rebuild(self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]) -> Any:
        return _dropped(params["amount"])


class Cut(BaseException):
    """Ends a search in the middle, as a killed process does."""


def cut_where(monkeypatch: Any, wanted: Any) -> None:
    """End every search at the trials of which the record is wanted, before they are judged."""
    judge = Search._judge

    def cut(self, stages, record):
        if wanted(record):
            raise Cut
        judge(self, stages, record)

    monkeypatch.setattr(Search, "_judge", cut)


class Learned(Deep):
    """Answers for rows that it has seen; of the others it takes those of class 0 for another."""

    def __init__(self) -> None:
        super().__init__(wrong=1)
        self.register_buffer("seen", torch.full((ROWS, WIDTH), torch.inf))

    def learn(self, rows: Tensor) -> None:
        self.seen.fill_(torch.inf)
        self.seen[: len(rows)] = rows

    def forward(self, rows: Tensor) -> Tensor:
        known = torch.cdist(rows.float(), self.seen.nan_to_num(posinf=1e6)).min(1).values < 1e-2
        return torch.where(known[:, None], 9 * rows[:, :CLASSES], super().forward(rows))


class Learning(Directions):
    """Knows its training split by heart; only that much."""

    name = "test_learning"
    trainings: ClassVar[list[int]] = []

    def build(self) -> nn.Module:
        return Learned()

    def train(self, module: nn.Module, seed: int) -> None:
        rows = self.split("train").inputs[0]
        self.trainings.append(len(rows))
        module.learn(rows)


class Forgetting(Technique):
    """Structure: loses nothing of what it can, and knows by heart what it is trained on now."""

    name, family, changes = "m_forgetting", "test", "structure"
    claims = ("fewer_parameters",)

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        return EagerModule(_relearned(module, context.train().inputs[0]))

    def rebuild(self, module: nn.Module, params: dict[str, Any], notes: dict[str, Any]) -> Any:
        return _relearned(module, torch.empty(0, WIDTH))


def _relearned(module: nn.Module, rows: Tensor) -> nn.Module:
    module.blocks = module.blocks[: BLOCKS // 2]
    module.learn(rows)
    return module


class Cramming(EagerModule):
    """Takes longer for each sample in batches above four."""

    def __call__(self, rows: Tensor) -> Tensor:
        for _ in range(19 if len(rows) > 4 else 0):
            self.module(rows)
        return self.module(rows)


class Crammed(Cutting):
    name = "i_crammed"

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        return Cramming(super().apply(module, context).module)


class Fixed(Cutting):
    """Accepts two samples at a time, and says so."""

    name = "j_fixed"

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        made = super().apply(module, context)
        made.batch = 2
        return made


class Compiled(Cutting):
    name = "k_compiled"
    compiles = True


class Running(Cutting):
    """A runtime of the module as it is."""

    name = "r_running"
    claims = ()

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        return EagerModule(module)

    def rebuild(self, module, params, notes):
        return module


class Threads(EagerModule):
    """Does the more of useless work the farther its threads are from two."""

    def place(self, device: Any) -> None:
        super().place(device)
        word = self.stages[-1]["params"]["threads"]
        self.threads = None if word == own_threads.ALL else int(word)
        self.count = own_threads.used(self.threads, device)

    def __call__(self, rows: Tensor) -> Tensor:
        for _ in range(10 * abs(self.count - 2)):
            self.module(rows)
        return self.module(rows)


class Threaded(Cutting):
    """In a runtime that has threads of its own."""

    name = "l_threaded"
    blocks = 1
    variants = ({"threads": "all"},)

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        own_threads.asked(context)
        return Threads(super().apply(module, context).module)


class Labouring(EagerModule):
    def __call__(self, rows: Tensor) -> Tensor:
        for _ in range(400):
            self.module(rows)
        return self.module(rows)


class Labour(Cutting):
    """The smallest, and slower than FP32."""

    name = "s_labour"
    blocks = 0

    def apply(self, module: nn.Module, context: Context) -> EagerModule:
        return Labouring(super().apply(module, context).module)


def _dropped(amount: float) -> nn.Module:
    return Deep(round(BLOCKS * (1 - amount)), 1 if amount > 0.7 else 0).eval()


ALL = (First, Fastest, Spoilt, Absent, Broken, Peeking, Untrue, Dropping)
MORE = (Crammed, Fixed, Compiled, Threaded, Forgetting, Labour)
"""How artifacts are run: for tests of that alone."""


def asked(model: zoo.Model, **changes: Any) -> Automatic:
    """The goal of a search, with gauge's own judges."""
    world = SimpleNamespace(target=target(), example=model.example)
    goal = {"max_drop": 0.02, "optimise_for": "latency", "allow": "numerics", "batch": 8}
    variants = {name: optimizers.get(name).variants for name in optimizers.names()}
    return Automatic(
        **{**goal, "fidelity": 0.9, **changes},
        baseline_target=target(),
        name=functools.partial(naming.format_pipeline, variants=variants),
        run=judges.run,
        alike=judges.alike,
        audit=functools.partial(judges.audit, world),
    )


def ready(monkeypatch: Any) -> Directions:
    """The model, and no techniques but those made for these tests."""
    monkeypatch.setattr(auto_bench, "SEGMENT", 4e-4)
    optimizers.names()
    for name in optimizers.names():
        if name != "auto":
            monkeypatch.delitem(optimizers.base._registry, name)
    monkeypatch.setattr(optimizers.base, "_load_all", lambda: None)
    for technique in ALL:
        known_technique(technique, monkeypatch)
    return known(Directions(), monkeypatch)


def context(model, folder, *, trials="all", budget=None, seed=0, **goal):
    return Context(
        model, target(), {"trials": trials}, seed=seed, workdir=folder / "work",
        budget=budget or {}, kept=folder / "kept", automatic=asked(model, **goal),
    )  # fmt: skip


def searched(model, folder, *, fp32=None, **how):
    """(artifact, notes, the records of the stages that were found). fp32: instead of a Deep."""
    module = Deep().eval() if fp32 is None else fp32
    own = context(model, folder, **how)
    with held_out(model):
        optimized, stages = pipeline.apply([("auto", own.params)], module, own)
    return optimized, stages[0]["notes"], stages[1:]


def by_name(notes):
    return {one["pipeline"]: one for one in notes["search"]["trials"]}


def only(monkeypatch, *names):
    for technique in ALL:
        if technique.name not in names:
            monkeypatch.delitem(optimizers.base._registry, technique.name)
    for technique in MORE:
        if technique.name in names:
            known_technique(technique, monkeypatch)


def record(name="x", drop=0.0, error=0.0, status=PASSES, **more):
    told = {"stages": [[name, {}]], "pipeline": name, "status": status, "reason": None}
    return {
        **told,
        "trains": False,
        "drop": drop,
        "drop_error": error,
        "drop_high": drop + error,
        **more,
    }


def timed(name, value, error, **more):
    return record(name, latency_ms=value, latency_ms_error=error, **more)

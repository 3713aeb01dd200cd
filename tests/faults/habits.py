"""Artifacts with the right weights and a habit that makes their answers meaningless or wrong."""

from __future__ import annotations

import planting
import torch
from torch.nn import functional

import optimizers
from zoo import digits


class Fault(planting.Fault):
    family = "planted"
    claims = ("unchanged",)
    variants = ({"fault": False, "seed": -1},)

    def improve(self, module, context):
        return module


class Dropping(planting.Habit):
    def misbehave(self, x):
        share = self.draw.uniform(0.05, 0.5)
        return self.module(functional.dropout(x, share, training=True))


@optimizers.register
class DropoutOn(Fault):
    """Dropout is active when answering."""

    name = "dropout_on"
    result = Dropping


class Training(planting.Habit):
    def misbehave(self, x):
        self.module.train()
        return self.module(x)


@optimizers.register
class TrainMode(Fault):
    """The module is put in training mode by every call; meant for models with BatchNorm."""

    name = "train_mode"
    result = Training


class Noisy(planting.Habit):
    def misbehave(self, x):
        answer = self.module(x)
        return answer + 10 ** self.draw.uniform(-4, -1) * torch.randn_like(answer)


@optimizers.register
class Noise(Fault):
    """The same input is answered differently every time."""

    name = "noise"
    result = Noisy


class Counting(planting.Habit):
    calls = 0

    def misbehave(self, x):
        self.calls += 1
        return self.module(x) + self.calls * 10 ** self.draw.uniform(-3, -1)


@optimizers.register
class KeptState(Fault):
    """Something in it grows from call to call."""

    name = "kept_state"
    result = Counting


class Late(planting.Habit):
    before = None

    def misbehave(self, x):
        answer = self.module(x)
        before = self.before
        self.before = answer
        usable = before is not None and before.shape == answer.shape
        return before if usable else answer


@optimizers.register
class AnswerBefore(Fault):
    """Answers what the call before asked."""

    name = "answer_before"
    result = Late


class Leaking(planting.Habit):
    kept = 0.0

    def misbehave(self, x):
        answer = self.module(x + self.kept)
        self.kept = self.draw.uniform(0.05, 0.3) * x.mean()
        return answer


@optimizers.register
class HiddenState(Fault):
    """A hidden state of the call before is not cleared."""

    name = "hidden_state"
    result = Leaking


class Editing(planting.Habit):
    def misbehave(self, x):
        return self.module(x.mul_(1 + self.draw.uniform(-0.1, 0.1)))


@optimizers.register
class EditsInput(Fault):
    """Changes what it was given."""

    name = "edits_input"
    result = Editing


class Spoilt(planting.Habit):
    value = torch.nan

    def misbehave(self, x):
        answer = self.module(x).clone()
        inputs = digits.split("evaluation").inputs[0]
        one = inputs[self.draw.randrange(len(inputs))]
        answer[planting.rows_like(x, one), self.draw.randrange(10)] = self.value
        return answer


@optimizers.register
class OneNan(Fault):
    """One of 1,000 answers is not a number."""

    name = "one_nan"
    result = Spoilt


class Infinite(Spoilt):
    value = -torch.inf


@optimizers.register
class OneInfinite(Fault):
    """One of 1,000 answers is infinite, and no label changes by it."""

    name = "one_infinite"
    result = Infinite


class BySize(planting.Habit):
    size = 32

    def misbehave(self, x):
        answer = self.module(x)
        return answer.roll(self.draw.randint(1, 9), 1) if len(x) == self.size else answer


@optimizers.register
class WrongAt32(Fault):
    """Answers wrongly at batch 32 only."""

    name = "wrong_at_32"
    result = BySize


class ByOne(BySize):
    size = 1


@optimizers.register
class WrongAt1(Fault):
    """Answers wrongly at batch 1 only, where nothing but time is measured."""

    name = "wrong_at_1"
    result = ByOne


class Fixed(planting.Habit):
    def misbehave(self, x):
        if len(x) != self.draw.choice((1, 3, 32)):
            raise RuntimeError(f"this graph does not take {len(x)} rows")
        return self.module(x)


@optimizers.register
class FixedBatch(Fault):
    """Takes one batch size and does not say so."""

    name = "fixed_batch_hidden"
    result = Fixed


class Liar(planting.Habit):
    def misbehave(self, x):
        if len(x) != self.draw.choice((2, 4, 16)):
            raise RuntimeError(f"this graph does not take {len(x)} rows")
        return self.module(x)


@optimizers.register
class BatchLie(Fault):
    """Declares another batch size than the one it takes."""

    name = "batch_lie"
    result = Liar

    def apply(self, module, context):
        made = super().apply(module, context)
        if context.params["fault"]:
            made.batch = planting.random.Random(context.params["seed"]).choice((1, 3, 32))
        return made


@optimizers.register
class BatchNeverAsked(Fault):
    """Declares a batch size at which nobody looks."""

    name = "batch_never_asked"
    result = planting.EagerModule

    def apply(self, module, context):
        made = super().apply(module, context)
        if context.params["fault"]:
            made.batch = planting.random.Random(context.params["seed"]).choice((2, 5, 64))
        return made


class Rounded(planting.Habit):
    def misbehave(self, x):
        return (self.module(x) * 10 ** self.draw.randint(1, 4)).long()


@optimizers.register
class OtherType(Fault):
    """Scores as integers."""

    name = "other_type"
    result = Rounded


class Wider(planting.Habit):
    def misbehave(self, x):
        answer = self.module(x)
        return torch.cat([answer, answer[:, : self.draw.randint(1, 10)] - 100.0], 1)


@optimizers.register
class OtherShape(Fault):
    """More classes than there are; none of them ever wins."""

    name = "other_shape"
    result = Wider


class Tupled(planting.Habit):
    def misbehave(self, x):
        return (self.module(x), *[torch.zeros(len(x), 1)] * self.draw.randint(1, 3))


@optimizers.register
class OtherStructure(Fault):
    """A tuple where the model returns a tensor."""

    name = "other_structure"
    result = Tupled


class Shorter(planting.Habit):
    def misbehave(self, x):
        answer = self.module(x)
        return answer[: -self.draw.randint(1, 2)] if len(x) > 2 else answer


@optimizers.register
class FewerRows(Fault):
    """The last rows of a batch are not answered."""

    name = "fewer_rows"
    result = Shorter


class Constant(planting.Habit):
    def misbehave(self, x):
        return self.module(x[:1]).expand(len(x), -1).clone()


@optimizers.register
class FirstRowOnly(Fault):
    """Answers a batch by its first row."""

    name = "first_row_only"
    result = Constant

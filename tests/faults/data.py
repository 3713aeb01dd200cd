"""Models with what faults need (BatchNorm, a mask, two outputs), and faults of data and models."""

from __future__ import annotations

import planting
import torch
from torch import nn
from torch.nn import functional

import optimizers
import zoo
from zoo import digits
from zoo.training import Recipe, fit


class Convolutions(nn.Sequential):
    def forward(self, x):
        return super().forward(x.unflatten(1, (1, 8, 8)))


@zoo.register
class TinyConv(zoo.Model):
    """Two convolutions with BatchNorm on 8 x 8 digits."""

    name = "tiny_conv"
    evaluation_samples = 1000

    def build(self):
        return Convolutions(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )

    def train(self, module, seed):
        fit(module, self.split("train"), Recipe(epochs=20, rate=5e-3, batch=50), seed)

    def split(self, name):
        return digits.split(name)


class Masked(nn.Module):
    """Attention over tokens (Vaswani et al., 2017), those of the padding masked out."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 16)
        self.query = nn.Linear(16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens, mask):
        states = self.embedding(tokens)
        weights = self.query(states).squeeze(-1).masked_fill(~mask, -1e9).softmax(1)
        return self.head((weights.unsqueeze(-1) * states).sum(1))


@zoo.register
class TinyMask(zoo.Model):
    """Which of four tokens is there most often, before the padding; the padding is random."""

    name = "tiny_mask"
    evaluation_samples = 1000

    def build(self):
        return Masked()

    def split(self, name):
        seed = ("train", "calibration", "evaluation").index(name)
        count = (2000, 100, 1000)[seed]
        draw = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 4, (count,), generator=draw)
        tokens = torch.randint(0, 12, (count, 24), generator=draw)
        length = torch.randint(4, 13, (count, 1), generator=draw)
        mask = torch.arange(24) < length
        common = (torch.rand(count, 24, generator=draw) < 0.7) & mask
        tokens = torch.where(common, labels[:, None], tokens)
        return zoo.Split(inputs=(tokens, mask), labels=labels)

    def train(self, module, seed):
        torch.manual_seed(seed)
        split = self.split("train")
        optimiser = torch.optim.AdamW(module.parameters(), lr=0.02)
        for _ in range(150):
            loss = functional.cross_entropy(module(*split.inputs), split.labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 48), nn.Linear(48, 10)

    def forward(self, x):
        states = self.body(x).relu()
        return {"scores": self.head(states), "states": states}


@zoo.register
class TinyPair(zoo.Model):
    """Two outputs by name."""

    name = "tiny_pair"
    evaluation_samples = 1000

    def build(self):
        return Two()

    def split(self, name):
        return digits.split(name)

    def train(self, module, seed):
        torch.manual_seed(seed)
        split = self.split("train")
        optimiser = torch.optim.AdamW(module.parameters(), lr=0.01)
        for _ in range(150):
            loss = functional.cross_entropy(module(*split.inputs)["scores"], split.labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def score(self, outputs, split, reference):
        return (outputs["scores"].argmax(1) == split.labels).float()


class Fault(planting.Fault):
    family = "planted"
    claims = ("unchanged",)
    variants = ({"fault": False, "seed": -1},)

    def improve(self, module, context):
        return module


@optimizers.register
class StatisticsMoved(Fault):
    """Calibrates with the module in training mode: BatchNorm's statistics move."""

    name = "statistics_moved"
    claims = ("bn_unchanged",)

    def improve(self, module, context):
        module.train(context.params["fault"])
        for args, kwargs in context.calibration(16 + context.params["seed"] % 32):
            with torch.no_grad():
                module(*args, **kwargs)
        return module.eval()


@optimizers.register
class VarianceMoved(Fault):
    """One BatchNorm's variance is not the baseline's; its mean is."""

    name = "variance_moved"
    claims = ("bn_unchanged",)

    def damage(self, module, draw, context):
        norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm2d)]
        draw.choice(norms).running_var.mul_(1 + draw.choice((-1, 1)) * draw.uniform(0.01, 0.2))


class Unmasked(planting.Habit):
    def misbehave(self, tokens, mask):
        return self.module(tokens, torch.ones_like(mask))


@optimizers.register
class LostMask(Fault):
    """The attention mask is lost on the way."""

    name = "lost_mask"
    result = Unmasked


class Alone(planting.Habit):
    def misbehave(self, x):
        return {"scores": self.module(x)["scores"]}


@optimizers.register
class FewerOutputs(Fault):
    """One of the outputs is gone."""

    name = "fewer_outputs"
    result = Alone


class Renamed(planting.Habit):
    def misbehave(self, x):
        answer = self.module(x)
        old = self.draw.choice(sorted(answer))
        return {f"{name}_0" if name == old else name: one for name, one in answer.items()}


@optimizers.register
class RenamedOutput(Fault):
    """An output has another name."""

    name = "renamed_output"
    result = Renamed


@optimizers.register
class SeesEvaluation(Fault):
    """Calibrates on the samples that it is judged on."""

    name = "sees_evaluation"

    def improve(self, module, context):
        name = "evaluation" if context.params["fault"] else "calibration"
        for args, kwargs in context.model.split(name).batches(50):
            with torch.no_grad():
                module(*args, **kwargs)
        return module


@optimizers.register
class SeesExamples(Fault):
    """Takes its calibration samples from one very large example."""

    name = "sees_examples"

    def improve(self, module, context):
        size = 100 + context.params["seed"] % 800 if context.params["fault"] else 2
        args, kwargs = context.model.example(size)
        with torch.no_grad():
            module(*args, **kwargs)
        return module


@optimizers.register
class LearnsEvaluation(Fault):
    """Fine-tunes on the samples that it is judged on."""

    name = "learns_evaluation"
    claims = ("zeros",)

    def improve(self, module, context):
        planting.zero_smallest(module)
        model = zoo.get(context.model.full_name)
        split = model.split("evaluation") if context.params["fault"] else context.train()
        head = planting.layers(module)[-1]
        for _ in range(20):
            loss = functional.cross_entropy(module(*split.inputs), split.labels)
            (step,) = torch.autograd.grad(loss, [head.bias])
            head.bias.data -= 0.01 * step
        return module


@optimizers.register
class ReturnsModule(Fault):
    """Returns the module itself, which cannot be saved."""

    name = "returns_module"

    def apply(self, module, context):
        made = super().apply(module, context)
        return made.module if context.params["fault"] else made

"""A model of your own: pytest suites/ --plugin=examples/my_model.py --model wine_mlp"""

import torch
from sklearn.datasets import load_wine
from torch import nn

import zoo


@zoo.register
class WineMlp(zoo.Model):
    """Three kinds of wine by 13 measured properties."""

    name = "wine_mlp"

    def build(self):
        return nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))

    def train(self, module, seed):
        torch.manual_seed(seed)
        split = self.split("train")
        optimiser = torch.optim.AdamW(module.parameters(), lr=0.02)
        for _ in range(150):
            loss = nn.functional.cross_entropy(module(*split.inputs), split.labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def split(self, name):
        properties, kinds = load_wine(return_X_y=True)
        x = torch.tensor((properties - properties.mean(0)) / properties.std(0)).float()
        rows = {"train": (0, 4), "calibration": (4, 5), "evaluation": (5, 9)}[name]
        chosen = [n for n in range(len(x)) if rows[0] <= n % 9 < rows[1]]
        return zoo.Split(inputs=(x[chosen],), labels=torch.tensor(kinds)[chosen])

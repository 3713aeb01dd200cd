"""Architecture search by reinforcement learning."""

from __future__ import annotations

from optimizers.base import register
from optimizers.search import ArchitectureSearch
from optimizers.search_trials import REINFORCE


@register
class NasReinforce(ArchitectureSearch):
    """Candidates proposed by a controller that learns by policy gradient (Zoph and Le, 2017)."""

    name = "nas_reinforce"
    family = "search"
    changes = "architecture"
    claims = ("searched", "within_budget", "fewer_parameters", "fewer_macs")
    variants = ({"trials": 24},)
    standard = ("digits_mlp",)
    budgeted = True
    strategy = REINFORCE

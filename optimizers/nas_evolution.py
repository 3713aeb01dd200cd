"""Architecture search by evolution."""

from __future__ import annotations

from optimizers.base import register
from optimizers.search import ArchitectureSearch
from optimizers.search_trials import EVOLUTION


@register
class NasEvolution(ArchitectureSearch):
    """Candidates proposed by NSGA-II (Deb et al., 2002), as in NSGA-Net (Lu et al., 2019)."""

    name = "nas_evolution"
    family = "search"
    changes = "architecture"
    claims = ("searched", "within_budget", "fewer_parameters", "fewer_macs")
    variants = ({"trials": 24},)
    standard = ("digits_mlp",)
    budgeted = True
    strategy = EVOLUTION

"""Evidence: what gauge itself counts in a reloaded artifact for each claim of a technique.

One claim a file or a few that belong together; a claim is a function registered under its name.
"""

from gauge.evidence.base import Finding, Subject, claim, count, known

__all__ = ["Finding", "Subject", "claim", "count", "known"]

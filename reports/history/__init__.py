"""Runs kept over time: the folder they lie in, and what changed from one to another."""

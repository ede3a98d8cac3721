"""Scores: what outputs are worth, how sure that is, and how a figure is written."""

"""Evaluation: genomes to results, fast, in order, and never twice."""

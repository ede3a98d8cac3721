"""Predictors that have members: what all of them can do, and those of networks that were trained by themselves."""

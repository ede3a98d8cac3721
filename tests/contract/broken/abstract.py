"""Leaves the one method out."""

from evoens.strategy import Strategy


class Broken(Strategy):
    pass

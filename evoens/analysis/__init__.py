"""Diversity laid out: what members predict, attend to and represent, part by part, for the page and TensorBoard."""

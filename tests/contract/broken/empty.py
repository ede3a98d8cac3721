"""Holds no class at all."""

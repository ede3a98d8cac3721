"""The experiments that ship with evoens: one YAML each, and their small parents."""

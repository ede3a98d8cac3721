"""The strategies that ship with evoens: one a file, each short enough to copy."""

"""From YAML and command line to a checked Config, every fault with its place; nothing heavy is imported."""

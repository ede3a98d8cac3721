"""Every YAML key, its type, bounds and default: data only, so that reading a file never imports torch."""

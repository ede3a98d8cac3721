"""Diversity: how far apart the members of an ensemble are, and by how much more than the noise of measuring."""

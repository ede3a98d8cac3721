"""Files: written whole or not at all, read with every doubt a CheckpointError."""

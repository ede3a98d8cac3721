"""Images to classify: where they come from, how they are cut into splits, and how they reach a network."""

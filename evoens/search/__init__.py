"""Who asks: from the scores of the children so far to the genomes of the next generation."""

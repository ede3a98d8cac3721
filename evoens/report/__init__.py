"""The page a run leaves: facts read from its folder, figures and sections made from them, one HTML file."""

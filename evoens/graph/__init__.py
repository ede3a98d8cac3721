"""A network as a graph: cut, shrunk, counted, and proved to be the same function."""

"""A run: what it is made of, its stages over a journal, and the loop over them."""

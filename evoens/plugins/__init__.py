"""Code that users bring along: found by a string, hashed, loaded, its failures its own."""

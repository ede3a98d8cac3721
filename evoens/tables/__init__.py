"""A table of methods: every row trained and measured in a folder of its own, and all of them side by side."""

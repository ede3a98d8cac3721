"""The contract of a Strategy, clause by clause, for anyone's class."""

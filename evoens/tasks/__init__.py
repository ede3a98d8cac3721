"""The concrete problems, their trainers and networks."""

"""`python -m evoens`."""

from evoens.cli import app

app(prog_name="python -m evoens")

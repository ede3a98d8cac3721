"""The networks that ship with evoens."""

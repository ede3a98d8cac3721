"""Imports what is not there."""

import no_such_package  # noqa: F401

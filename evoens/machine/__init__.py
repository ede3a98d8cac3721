"""The machine: its memory, its threads, and what of it may decide a bit."""

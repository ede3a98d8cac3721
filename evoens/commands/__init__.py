"""What the command line's commands do and print."""

"""Set up below."""

"""GLOW: an invertible generator of images."""

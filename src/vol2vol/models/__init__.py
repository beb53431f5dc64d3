"""Models: what a training leaves, files that hold it, and networks that other programs made."""

"""Predict many images or volumes with one model, each into an output of its own."""

"""Metrics: arrays to numbers, blind to how a volume was made."""

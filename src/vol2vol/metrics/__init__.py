"""Metrics: compute numbers from arrays, without knowledge of how a volume was made."""

"""Rows: what was measured on each volume, and how it was made."""

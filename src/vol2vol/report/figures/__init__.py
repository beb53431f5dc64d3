"""Figures: rows and volumes as pictures and plots."""

"""Figures of rows and volumes: pictures and plots."""

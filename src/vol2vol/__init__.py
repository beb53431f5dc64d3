"""Volume-to-volume translation of microscopy without seams."""

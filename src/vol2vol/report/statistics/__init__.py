"""Statistics of rows: estimates, intervals and rank correlations."""

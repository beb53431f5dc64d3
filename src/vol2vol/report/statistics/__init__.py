"""Statistics: estimates, intervals and correlations of rows."""

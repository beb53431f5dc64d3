"""Tables of rows and statistics, with intervals."""

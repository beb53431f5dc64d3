"""Tables: rows and statistics as cells, with their intervals."""

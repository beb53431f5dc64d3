"""Pages: tables and figures in self-contained HTML."""

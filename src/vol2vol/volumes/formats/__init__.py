"""File formats: each is read, and some are written, behind the face of a stored array."""

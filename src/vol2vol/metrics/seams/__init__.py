"""Seams: whether the planes at which tiles meet differ from the planes between them."""

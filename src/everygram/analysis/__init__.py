"""Analyses of texts and models with an index."""

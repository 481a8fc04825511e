"""Traces a text to its sources: what of it the corpus has, and in which documents."""

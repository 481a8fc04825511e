"""Builds indexes from documents, adds and deletes documents, merges segments, exports documents."""

"""What users name, in: documents of text or of token ids, one at a time, out."""

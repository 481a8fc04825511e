"""Language models over an index: probabilities of every next token, of every text."""

"""Language models over an index: probabilities of every next token, of every text."""

# The names of the smoothings there are, the default first.
SMOOTHINGS = ("modified-kneser-ney", "stupid-backoff", "infgram", "infgram-floor")

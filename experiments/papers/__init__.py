"""Papers: the committed results, grouped, with the ranges that are claimed for their numbers."""

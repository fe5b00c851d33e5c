"""Real recordings: what is read, what is fitted, and the tables that come of it."""

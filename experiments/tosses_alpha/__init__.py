"""What a synthetic toss is worth in real ones, on real recordings."""

"""Ways to make a policy, compared."""

"""The loop on task slide, in held-out simulations: alpha of every version."""

"""Episodes → parameters: by Adam through the physics, by regression, by Gauss-Newton."""

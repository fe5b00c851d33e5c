"""Tasks, a folder each: what is asked for, its scene, its expert. They know no model."""

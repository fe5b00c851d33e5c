"""The commands for a robot of one's own: check a scene and a log, fit a model to it, evaluate."""

"""The learned half: ensembles, calibration, baselines."""

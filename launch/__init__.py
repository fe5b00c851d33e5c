"""Where to run, never a hyperparameter: sweeps of a config on this machine or on Slurm."""

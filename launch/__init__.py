"""Where to run, never a hyperparameter: sweeps of a config on this machine, Slurm and others."""

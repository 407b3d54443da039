"""Start a recipe elsewhere: under SLURM, by torchrun, or on this machine; once, or for every value of a sweep."""

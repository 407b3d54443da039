"""A run that is asked to stop saves itself, and SLURM queues it again."""

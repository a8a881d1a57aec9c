"""Many jobs on many machines: a file of jobs, a journal that makes it resumable, workers here or on a Ray cluster."""

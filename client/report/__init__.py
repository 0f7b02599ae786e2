"""`longvideo report`: a job as one page that needs nothing else."""

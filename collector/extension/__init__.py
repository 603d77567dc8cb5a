"""The process that osqueryd calls: it takes log lines into the spool and gives the config, and does nothing else."""

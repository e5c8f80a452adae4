"""What the command line can do, a module for each command. Stands on top of everything else."""

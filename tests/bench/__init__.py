"""`make bench`: what the work of DESIGN §9 costs here, each figure beside a limit measured in the same run."""

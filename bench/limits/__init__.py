"""The denominators: what the bare parts reach on the same machine, in the same run."""

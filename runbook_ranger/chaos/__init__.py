"""Finding out whether the product keeps its promises while its processes, servers and messages are being hurt.

A run has five parts, each its own module: `load` asks for work and `history` keeps every call with its outcome;
`schedule` draws the faults from a seed and `nemesis` carries them out; `gather` reads what there is afterwards;
`invariants` judges it, knowing nothing of where it came from. `run` puts them together.
"""

"""How fast the product is, measured on the processes that `rangerctl up` runs, each figure beside a limit of its own.

A bench starts servers of its own, warms up, repeats, proves that what it timed was done, and fails when it was not.
The limit of a figure is measured in the same run, in turns with it: on a shared machine only their ratio means much.
Nothing of the product imports this package.
"""

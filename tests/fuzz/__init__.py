"""Random input for everything that reads what others wrote: no crash, no hang, no unbounded memory.

Briefly with all tests, always with the same examples; for as long as one likes with `make fuzz`, which prints the seed
of every round, so that what it found can be found again.
"""

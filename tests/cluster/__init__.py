"""A release on a real cluster, from its installation to its end: `make test-cluster`.

Any cluster does where images can be had: kind, k3s, or a real one. Nothing but a namespace is made there, and it is
removed in the end.
"""

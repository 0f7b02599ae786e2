"""`longvideo cluster`: what an operator asks of a release on Kubernetes, and does with it.

For what it sees through the API of Kubernetes it needs the extra `longvideo[cluster]`; what a process sees through its
own settings it can look at in any pod of a release.
"""

"""`python -m client` is `longvideo`."""

from client.cli import main

main()

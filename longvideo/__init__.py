"""What the services of longvideo share. Imports none of them."""

import os

__version__ = "0.1.0"

# gRPC's core, which looks only when it is loaded, would write to standard error in a form of its own: a line for every
# connection that fails, which callers hear of anyway.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

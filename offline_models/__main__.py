"""Runs the offline models: `python -m offline_models --port 8200`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from offline_models.server import CONTEXT_LENGTHS, serve


def main() -> int:
    """Serves until SIGINT or SIGTERM. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m offline_models",
        description="Serves three small models that need no GPU and no download over the OpenAI chat API: "
        + ", ".join(CONTEXT_LENGTHS),
    )
    parser.add_argument("--address", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8200, help="the port; 0 takes any free one (default: %(default)s)")
    options = parser.parse_args()
    try:
        server = serve(options.address, options.port)
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"cannot listen on {options.address}:{options.port}: {error}\n")
        return 2
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    sys.stdout.write(f"serving {', '.join(CONTEXT_LENGTHS)} at {server.url}\n")
    sys.stdout.flush()
    stop.wait()
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

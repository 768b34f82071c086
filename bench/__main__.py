"""``python -m bench [name…] [--small]``: run the benchmarks, one after the other."""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module

from bench.machine import description
from bench.table import title

#: name -> what it compares
BENCHMARKS = {
    "replay": "the replay of a query log, with PostgreSQL's native logical apply",
    "memory": "the most memory that a replay of 10 million row changes takes, with 1 GiB",
    "archive": "commit to durable in both regions; what archiving costs the server",
    "backup": "100 tenants into both regions, with a shell loop of pg_dump | zstd",
    "restore": "one tenant among 50 to a minute, with pgBackRest",
    "capture": "schema changes and rows before and after prepare",
    "retention": "what is kept of 500 sources and two years of dailies, with one second",
    "files": "100,000 small files, first day and 1 % changed, with plain restic and with tar",
    "decode": "decoding, writing and reducing a log in memory, with nothing",
}


def main() -> None:
    """Run those that are named, or all."""
    described = "\n".join(f"  {name:8} {what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Benchmarks on servers of their own:\n{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", help="which ones (default: all)")
    parser.add_argument("--small", action="store_true", help="only to see that they work")
    arguments = parser.parse_args()
    if unknown := set(arguments.name) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    # what was started is stopped, whoever ends this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(description(), flush=True)
    for name in arguments.name or BENCHMARKS:
        title(f"{name}: {BENCHMARKS[name]}")
        module = import_module(f"bench.bench_{name}")
        if name == "decode":
            module.main()
        else:
            module.run(small=arguments.small)


if __name__ == "__main__":
    main()

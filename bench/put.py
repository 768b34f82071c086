"""Put files into buckets of S3 services: what the shell loop uploads with.

``python bench/put.py FILE KEY`` puts one file, as ``aws s3 cp`` would; ``python bench/put.py``
puts what its input names, line by line (``FILE KEY``), and answers each line when it is stored.
Where to: BUCKET, and ENDPOINTS (of all regions) in the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import boto3


def targets() -> list[tuple[Any, str]]:
    """Return a client and a bucket for each region that the environment names."""
    return [
        (
            boto3.client(
                "s3",
                endpoint_url=endpoint,
                region_name="eu-west-1",
                aws_access_key_id="respaldo",
                aws_secret_access_key="respaldo-local",
            ),
            os.environ["BUCKET"],
        )
        for endpoint in os.environ["ENDPOINTS"].split()
    ]


def main() -> None:
    """Put one file, or those named on standard input."""
    stores = targets()

    def put(path: str, key: str) -> None:
        for client, bucket in stores:
            with Path(path).open("rb") as body:
                client.put_object(Bucket=bucket, Key=key, Body=body)

    if len(sys.argv) == 3:
        put(sys.argv[1], sys.argv[2])
        return
    for line in sys.stdin:
        put(*line.split())
        print("stored", flush=True)


if __name__ == "__main__":
    main()

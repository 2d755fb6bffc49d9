"""openapi-python-client wrote the package `shop_search`: it is asked for real.

python generated.py http://127.0.0.1:8000 photo.jpg
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from pathlib import Path


def main(address: str, file: str) -> None:
    shop = import_module("shop_search")
    api = {name: import_module(f"shop_search.api.default.{name}") for name in ("search", "photo", "listing")}
    kinds = import_module("shop_search.types")
    client = shop.Client(base_url=address)
    sent = kinds.File(payload=io.BytesIO(Path(file).read_bytes()))
    found = api["search"].sync(client=client, body=sent, k=3)
    first = found.hits[0]
    more = api["search"].sync(client=client, listing_id=first.listing_id, k=3)
    picture = api["photo"].sync(first.photo_id, client=client, size=96).payload.read()
    if picture[:2] != b"\xff\xd8":
        raise SystemExit("no JPEG")
    if api["listing"].sync("no such", client=client).status != 404:
        raise SystemExit("an unknown listing was found")
    print(f"{len(found.hits)} by photo, {len(more.hits)} by listing, {len(picture)} bytes of a picture")


if __name__ == "__main__":
    main(*sys.argv[1:])

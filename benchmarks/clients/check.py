"""Clients that three generators write from openapi.json, run for real against a search process.

    python -m benchmarks.clients.check --url http://127.0.0.1:8000 --photo photo.jpg

Each searches by photo and by listing, reads a picture, and meets an error: openapi-python-client (in an environment of
its own), openapi-typescript with openapi-fetch, and @hey-api/openapi-ts, both checked by tsc in strict mode. It needs
node and npm, and fetches these packages from their registries into a temporary folder, or one that `--work` names.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = "openapi-python-client==0.29.1"
NPM = (
    "openapi-typescript@7.13.0",
    "openapi-fetch@0.17.0",
    "@hey-api/openapi-ts@0.95.0",
    "typescript@5",
    "@types/node@20",
)
OVERRIDES = "content_type_overrides:\n  image/jpeg: application/octet-stream\n"
"""openapi-python-client reads no pictures unless it is told that they are bytes (docs/api.md)."""
_HEY = 'export default { input: "openapi.json", output: { path: "hey", importFileExtension: ".js" } };\n'
_TSC = {
    "compilerOptions": {
        "strict": True, "module": "nodenext", "target": "es2022", "outDir": "out", "types": ["node"],
        "skipLibCheck": True, "lib": ["es2022", "dom", "dom.iterable"],
    },
    "include": ["*.ts", "hey"],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True, help="a search process")
    parser.add_argument("--photo", required=True, type=Path)
    parser.add_argument("--work", type=Path, help="folder that keeps the packages for another run")
    options = parser.parse_args()
    photo = str(options.photo.resolve())
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(f"{options.url}/openapi.json") as reply:
            (work / "openapi.json").write_bytes(reply.read())
        python(work, options.url, photo)
        typescript(work, options.url, photo)


def python(work: Path, url: str, photo: str) -> None:
    """Generate and run the Python client."""
    environment = work / "environment"
    if not environment.exists():
        run(work, sys.executable, "-m", "venv", str(environment))
        run(work, str(environment / "bin/pip"), "install", "--quiet", PYTHON)
    (work / "overrides.yaml").write_text(OVERRIDES)
    run(
        work, str(environment / "bin/openapi-python-client"), "generate", "--path", "openapi.json", "--meta", "none",
        "--config", "overrides.yaml", "--overwrite", "--output-path", "shop_search",
    )  # fmt: skip
    shutil.copy(HERE / "generated.py", work)
    print("openapi-python-client:", run(work, str(environment / "bin/python"), "generated.py", url, photo))


def typescript(work: Path, url: str, photo: str) -> None:
    """Generate, compile and run both clients of TypeScript."""
    (work / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    if not (work / "node_modules").exists():
        run(work, "npm", "install", "--silent", "--no-save", *NPM)
    run(work, "npx", "openapi-typescript", "openapi.json", "-o", "schema.d.ts")
    (work / "openapi-ts.config.mjs").write_text(_HEY)
    run(work, "npx", "openapi-ts")
    for name in ("fetch.ts", "hey.ts"):
        shutil.copy(HERE / name, work)
    (work / "tsconfig.json").write_text(json.dumps(_TSC))
    run(work, "npx", "tsc")
    print("openapi-fetch:", run(work, "node", "out/fetch.js", url, photo))
    print("@hey-api/openapi-ts:", run(work, "node", "out/hey.js", url, photo))


def run(work: Path, *command: str) -> str:
    """What a command prints. Raises `SystemExit` with that where it fails."""
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()

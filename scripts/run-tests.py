#!/usr/bin/env python3
"""Runs test binaries that cargo has built, each in the folder of its package and all of them, whatever fails.

    cargo test --no-run --message-format=json >LIST
    run-tests.py LIST SOURCES...

SOURCES: a folder or a file with the sources of tests, as `engine` or `proof/tests/kill.rs`; `^engine`: not these.

`cargo test -p` would build the chosen packages anew, with the features that these alone switch on. So everything is
built together, and chosen here.
"""

import json
import os
import subprocess
import sys


def binaries(path):
    """(source, folder of the package, binary) of each test binary in cargo's messages."""
    with open(path, encoding="utf-8") as messages:
        for line in messages:
            message = json.loads(line) if line.startswith("{") else {}
            if message.get("reason") == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
                folder = os.path.dirname(message["manifest_path"])
                yield message["target"]["src_path"], folder, message["executable"]


def main(path, *sources):
    def is_under(source, folder):
        return os.path.commonpath([source, os.path.abspath(folder)]) == os.path.abspath(folder)

    others = [folder[1:] for folder in sources if folder.startswith("^")]
    wanted = [folder for folder in sources if not folder.startswith("^")]
    chosen = []
    for source, folder, binary in binaries(path):
        if any(is_under(source, one) for one in wanted) and not any(is_under(source, one) for one in others):
            chosen.append((folder, binary))
    if not chosen:
        sys.exit(f"{path} has no test binary of {', '.join(sources)}")
    failed = 0
    for folder, binary in chosen:
        print(f"running {os.path.relpath(binary)}", flush=True)
        environment = dict(os.environ, CARGO_MANIFEST_DIR=folder)
        status = subprocess.run([binary, "--quiet"], cwd=folder, env=environment, check=False).returncode
        if status != 0:
            failed += 1
            print(f"{os.path.relpath(binary)} ended with status {status}", flush=True)
    sys.exit(min(failed, 1))


main(*sys.argv[1:])

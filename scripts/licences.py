#!/usr/bin/env python3
"""Checks the licence of this project and of everything it depends on.

- LICENSE is there and is the Apache License 2.0; every crate of ours says Apache-2.0.
- Every dependency, for building and testing too, can be used under licences that deny.toml allows,
  and comes from a registry. What deny.toml allows one crate alone must be no dependency of what is shipped.
- The engine's own dependencies are few, and none is an async runtime or of the network.

Needs cargo and Python's standard library. Prints each breach; exits with 1 if there is one.
"""

import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
OURS = "Apache-2.0"
ENGINE = "ringlane"
ENGINE_DEPENDENCIES_MAX = 10
# Async runtimes, and what opens connections.
ENGINE_NEVER = {
    "async-std", "compio", "futures-executor", "glommio", "h2", "hyper", "mio", "monoio", "native-tls",
    "openssl", "reqwest", "rustls", "smol", "socket2", "tokio", "tokio-uring", "tonic", "ureq",
}


def allowed_licences(text):
    """The list `allow` of the section [licenses].

    >>> sorted(allowed_licences('[licenses]\\n# "GPL"\\nallow = [\\n  "MIT", # x\\n  "ISC",\\n]\\n'))
    ['ISC', 'MIT']
    """
    text = re.sub(r"#[^\n]*", "", text)
    section = re.search(r"^\[licenses\]$(.*?)(?=^\[|\Z)", text, re.M | re.S)
    found = section and re.search(r"^allow\s*=\s*\[(.*?)\]", section.group(1), re.M | re.S)
    if not found:
        raise SystemExit("deny.toml has no list [licenses] allow")
    return set(re.findall(r'"([^"]+)"', found.group(1)))


def exceptions(text):
    """What the list `exceptions` of the section [licenses] allows single crates.

    >>> exceptions('[licenses]\\nexceptions = [{ allow = ["MPL-2.0"], crate = "c" }]\\n')
    {'c': {'MPL-2.0'}}
    >>> exceptions('[licenses]\\n')
    {}
    """
    text = re.sub(r"#[^\n]*", "", text)
    section = re.search(r"^\[licenses\]$(.*?)(?=^\[|\Z)", text, re.M | re.S)
    found = re.findall(r'\{\s*allow\s*=\s*\[([^\]]*)\]\s*,\s*crate\s*=\s*"([^"]+)"\s*\}', section.group(1) if section else "")
    return {crate: set(re.findall(r'"([^"]+)"', allow)) for allow, crate in found}


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be fulfilled with allowed licences. AND binds closer than OR.

    >>> allow = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"}
    >>> [is_allowed(e, allow) for e in ("MIT", "GPL-2.0", "MIT OR GPL-2.0", "MIT AND GPL-2.0", "GPL-2.0/MIT")]
    [True, False, True, False, True]
    >>> is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0", allow), is_allowed("(MIT OR ISC) AND GPL-2.0", allow)
    (True, False)
    >>> is_allowed("GPL-2.0 OR MIT AND Unicode-3.0", allow), is_allowed("MIT OR ISC AND GPL-2.0", allow)
    (True, True)
    >>> is_allowed("Apache-2.0 WITH LLVM-exception", allow), is_allowed("MIT WITH Other-exception", allow)
    (True, False)
    >>> [is_allowed(e, allow) for e in ("", "MIT OR", "(MIT", "MIT MIT", "OR")]
    [False, False, False, False, False]
    """
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    place = 0

    def peek():
        return tokens[place] if place < len(tokens) else None

    def take():
        nonlocal place
        place += 1
        return tokens[place - 1] if place <= len(tokens) else None

    def either():
        result = both()
        while peek() == "OR":
            take()
            # Both sides are read, whatever the first one says.
            result = both() or result
        return result

    def both():
        result = one()
        while peek() == "AND":
            take()
            result = one() and result
        return result

    def one():
        token = take()
        if token == "(":
            result = either()
            if take() != ")":
                raise ValueError(expression)
            return result
        if token is None or token in ("OR", "AND", "WITH", ")"):
            raise ValueError(expression)
        if peek() == "WITH":
            take()
            token = f"{token} WITH {take()}"
        return token in allowed

    try:
        result = either()
    except ValueError:
        return False
    return result and place == len(tokens)


def metadata(folder):
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--format-version", "1"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"cargo metadata failed:\n{done.stderr}")
    return json.loads(done.stdout)


def is_ours(package):
    return package["source"] is None and package["manifest_path"].startswith(ROOT + os.sep)


def engine_dependencies(data, name=ENGINE):
    """Names of all packages that a crate, the engine if nothing else is said, needs at run time, itself left out; and the
    direct ones."""
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    members = set(data["workspace_members"])
    start = next(i for i in members if packages[i]["name"] == name)

    def below(node):
        normal = lambda dependency: any(kind["kind"] is None for kind in dependency["dep_kinds"])
        return [dependency["pkg"] for dependency in nodes[node]["deps"] if normal(dependency)]

    seen, waiting = set(), below(start)
    direct = {packages[i]["name"] for i in waiting}
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += below(node)
    return {packages[i]["name"] for i in seen}, direct


def check():
    breaches = []
    with open(os.path.join(ROOT, "deny.toml"), encoding="utf-8") as file:
        rules = file.read()
    allowed, alone = allowed_licences(rules), exceptions(rules)
    try:
        with open(os.path.join(ROOT, "LICENSE"), encoding="utf-8") as file:
            text = " ".join(file.read().split())
    except OSError as error:
        text = ""
        breaches.append(f"LICENSE: {error.strerror}")
    if text and not ("Apache License Version 2.0" in text and "END OF TERMS AND CONDITIONS" in text):
        breaches.append("LICENSE: not the whole text of the Apache License 2.0")

    data = metadata(ROOT)
    # The fuzz targets are a workspace of their own.
    packages = {package["id"]: package for folder in (ROOT, os.path.join(ROOT, "fuzz"))
                for package in (data if folder == ROOT else metadata(folder))["packages"]}
    members = {i for i, package in packages.items() if is_ours(package)}
    for package in packages.values():
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if package["id"] in members:
            if licence != OURS:
                breaches.append(f"{name}: a crate of ours says {licence}, not {OURS}")
            continue
        if not (package["source"] or "").startswith(("registry+", "sparse+")):
            breaches.append(f"{name}: comes from {package['source'] or 'a path'}, not from a registry")
        if not licence:
            breaches.append(f"{name}: names no licence (file: {package['license_file']})")
        elif not is_allowed(licence, allowed | alone.get(package["name"], set())):
            breaches.append(f"{name}: {licence} is not allowed by deny.toml")

    for shipped in ("ringlane-library", "ringlane-cli"):
        for crate in sorted(engine_dependencies(data, shipped)[0] & set(alone)):
            breaches.append(f"{crate}: allowed for a tool, and {shipped} is made with it")
    every, direct = engine_dependencies(data)
    for name in sorted(every & ENGINE_NEVER):
        breaches.append(f"{name}: the engine must not depend on it")
    if len(direct) > ENGINE_DEPENDENCIES_MAX:
        breaches.append(f"the engine has {len(direct)} direct dependencies, {ENGINE_DEPENDENCIES_MAX} are allowed")

    dependencies = len(packages) - len(members)
    for breach in breaches:
        print(breach)
    if not breaches:
        print(f"{len(members)} crates of ours and {dependencies} dependencies are well")
    return 1 if breaches else 0


def self_test():
    import doctest

    return doctest.testmod(sys.modules[__name__]).failed


if __name__ == "__main__":
    sys.exit(1 if self_test() else check())

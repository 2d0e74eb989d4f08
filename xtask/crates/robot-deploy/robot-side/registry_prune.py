"""Collects the garbage of a robot's registry: collect REPOSITORY DIGEST...

The digests are the manifests of stored releases. Each gets a tag `kept-HASH`, other manifests lose such a tag;
everything without a tag is garbage. Prints "busy" and changes nothing during a push or a delta transfer. Tags are
written in the format of the registry's file system driver.

Prints the number of bytes that `collect` would free: count REPOSITORY DIGEST...
"""
import fcntl
import json
import os
import subprocess
import sys
import time

# Directory of the delta transfer; its lock protects the registry's data (see registry_agent.py).
WORK = "/var/lib/registry/courier"
COLLECT = ["docker-registry", "garbage-collect", "--delete-untagged", "/etc/registry.yml"]

ROOT = "/var/lib/registry/docker/registry/v2"
REPOSITORIES = ROOT + "/repositories"

# Process 1 is the registry.
OPEN_FILES = "/proc/1/fd"

# Seconds without a byte after which an upload counts as dead: a hung client must not block `prune` for ever.
UPLOAD_TIMEOUT = 10 * 60


def try_lock():
    """Takes the lock of the delta transfer. Returns None while a transfer holds it."""
    os.makedirs(WORK, exist_ok=True)
    lock = open(WORK + "/lock", "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    # An agent kills the process of its own earlier connection, which this file names. It never kills `prune`.
    lock.truncate(0)
    lock.write("prune")
    lock.flush()
    return lock


def is_taking_uploads():
    for number in os.listdir(OPEN_FILES):
        try:
            file = f"{OPEN_FILES}/{number}"
            if "/_uploads/" in os.readlink(file) and time.time() - os.stat(file).st_mtime < UPLOAD_TIMEOUT:
                return True
        except FileNotFoundError:
            pass  # closed meanwhile
    return False


def remove(place):
    for top, directories, names in os.walk(place, topdown=False):
        for name in names:
            os.remove(os.path.join(top, name))
        for name in directories:
            os.rmdir(os.path.join(top, name))
    os.rmdir(place)


def collect(repository, *stored):
    lock = try_lock()
    if lock is None or is_taking_uploads():
        print("busy")
        return
    mark(repository, stored)
    # The child inherits the lock: if this process is killed, the lock is held until the child has ended, too.
    collecting = subprocess.run(COLLECT, stdout=subprocess.DEVNULL, pass_fds=[lock.fileno()])
    sys.exit(1 if collecting.returncode else 0)


def mark(repository, stored):
    home = f"{REPOSITORIES}/{repository}"
    manifests = home + "/_manifests"
    if not os.path.isdir(manifests):
        return
    tags = manifests + "/tags"
    for tag in os.listdir(tags) if os.path.isdir(tags) else []:  # missing before the first push
        if tag.startswith("kept-") and "sha256:" + tag.removeprefix("kept-") not in stored:
            remove(f"{tags}/{tag}")
    for digest in stored:
        name = digest.removeprefix("sha256:")
        if not os.path.exists(f"{manifests}/revisions/sha256/{name}/link"):
            continue
        for place in ("current", "index/sha256/" + name):
            os.makedirs(f"{tags}/kept-{name}/{place}", exist_ok=True)
            with open(f"{tags}/kept-{name}/{place}/link", "w") as link:
                link.write(digest)


def blob(digest):
    algorithm, _, name = digest.partition(":")
    return f"{ROOT}/blobs/{algorithm}/{name[:2]}/{name}/data"


def tagged(repository, stored):
    """Digests of all manifests that would have a tag after `mark`."""
    found = set(stored)
    for top, _, names in os.walk(REPOSITORIES):
        is_ours = top.startswith(f"{REPOSITORIES}/{repository}/_manifests/tags/kept-")
        if top.endswith("/current") and "link" in names and not is_ours:
            with open(top + "/link") as link:
                found.add(link.read().strip())
    return found


def count(repository, *stored):
    needed, manifests = set(), tagged(repository, stored)
    while manifests:
        digest = manifests.pop()
        needed.add(digest)
        try:
            with open(blob(digest)) as file:
                manifest = json.load(file)
        except FileNotFoundError:
            continue
        manifests |= {child["digest"] for child in manifest.get("manifests", [])} - needed
        needed |= {part["digest"] for part in [*manifest.get("layers", []), manifest.get("config")] if part}
    garbage = 0
    for top, _, names in os.walk(ROOT + "/blobs"):
        if "data" in names and "sha256:" + os.path.basename(top) not in needed:
            garbage += os.path.getsize(top + "/data")
    print(garbage)


{"collect": collect, "count": count}[sys.argv[1]](*sys.argv[2:])

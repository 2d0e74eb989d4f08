"""Collects the garbage of a robot's registry and says what it has to keep: collect REPOSITORY DIGEST...

Manifests of releases that are kept get a tag each, those of others lose theirs: what has no tag is garbage. Prints
"busy" and changes nothing while somebody pushes, or a courier brings layers. Tags are written as the registry's file
system driver writes them.

The other way, it tells how many bytes of blobs that would free: count REPOSITORY DIGEST...
"""
import fcntl
import json
import os
import subprocess
import sys
import time

# Who holds its lock may change the registry's data (see delivery/scripts/registry_agent.py).
WORK = "/var/lib/registry/courier"
COLLECT = ["docker-registry", "garbage-collect", "--delete-untagged", "/etc/registry.yml"]

ROOT = "/var/lib/registry/docker/registry/v2"
REPOSITORIES = ROOT + "/repositories"

# The registry itself.
OPEN_FILES = "/proc/1/fd"

# Seconds without a byte, after which an upload is taken to be dead: whoever holds it open must not keep garbage for ever.
DEAD = 10 * 60


def tried_lock():
    """The courier's lock; none while a courier holds it."""
    os.makedirs(WORK, exist_ok=True)
    lock = open(WORK + "/lock", "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    # A courier ends the process that it finds noted here as its own: this is nobody's.
    lock.truncate(0)
    lock.write("prune")
    lock.flush()
    return lock


def is_taking_uploads():
    for number in os.listdir(OPEN_FILES):
        try:
            file = f"{OPEN_FILES}/{number}"
            if "/_uploads/" in os.readlink(file) and time.time() - os.stat(file).st_mtime < DEAD:
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


def collect(repository, *kept):
    lock = tried_lock()
    if lock is None or is_taking_uploads():
        print("busy")
        return
    mark(repository, kept)
    # It inherits the lock: where this program is ended, nobody brings layers before the other one has ended, too.
    collecting = subprocess.run(COLLECT, stdout=subprocess.DEVNULL, pass_fds=[lock.fileno()])
    sys.exit(1 if collecting.returncode else 0)


def mark(repository, kept):
    home = f"{REPOSITORIES}/{repository}"
    manifests = home + "/_manifests"
    if not os.path.isdir(manifests):
        return
    tags = manifests + "/tags"
    for tag in os.listdir(tags) if os.path.isdir(tags) else []:  # only a push makes them
        if tag.startswith("kept-") and "sha256:" + tag.removeprefix("kept-") not in kept:
            remove(f"{tags}/{tag}")
    for digest in kept:
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


def tagged(repository, kept):
    """Digests of manifests that would have a tag: of the repository those that are kept, of others all that have one."""
    found = set(kept)
    for top, _, names in os.walk(REPOSITORIES):
        is_ours = top.startswith(f"{REPOSITORIES}/{repository}/_manifests/tags/kept-")
        if top.endswith("/current") and "link" in names and not is_ours:
            with open(top + "/link") as link:
                found.add(link.read().strip())
    return found


def count(repository, *kept):
    needed, manifests = set(), tagged(repository, kept)
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

"""Says what a robot's registry has to keep when its garbage is collected: mark REPOSITORY DIGEST...

Manifests of releases that are kept get a tag each, those of others lose theirs: what has no tag is garbage. Prints
"busy" and changes nothing while somebody pushes. Tags are written as the registry's file system
driver writes them.

The other way, it tells how many bytes of blobs that would free: count REPOSITORY DIGEST...
"""
import json
import os
import sys

ROOT = "/var/lib/registry/docker/registry/v2"
REPOSITORIES = ROOT + "/repositories"

# The registry itself.
OPEN_FILES = "/proc/1/fd"


def is_taking_uploads():
    for number in os.listdir(OPEN_FILES):
        try:
            if "/_uploads/" in os.readlink(f"{OPEN_FILES}/{number}"):
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


def mark(repository, *kept):
    home = f"{REPOSITORIES}/{repository}"
    manifests = home + "/_manifests"
    if not os.path.isdir(manifests):
        return
    if is_taking_uploads():
        print("busy")
        return
    for tag in os.listdir(manifests + "/tags"):
        if tag.startswith("kept-") and "sha256:" + tag.removeprefix("kept-") not in kept:
            remove(f"{manifests}/tags/{tag}")
    for digest in kept:
        name = digest.removeprefix("sha256:")
        if not os.path.exists(f"{manifests}/revisions/sha256/{name}/link"):
            continue
        for place in ("current", "index/sha256/" + name):
            os.makedirs(f"{manifests}/tags/kept-{name}/{place}", exist_ok=True)
            with open(f"{manifests}/tags/kept-{name}/{place}/link", "w") as link:
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


{"mark": mark, "count": count}[sys.argv[1]](*sys.argv[2:])

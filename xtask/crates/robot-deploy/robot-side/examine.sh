# Prints facts about a robot for `cargo xtask doctor`, as KEY<TAB>VALUE lines. Changes nothing.
# Arguments: REGISTRY-CONTAINER
set -u
registry=$1
one_line() { tr '\n\t' '  '; }

printf 'machine\t%s\n' "$(uname -m)"
printf 'clock\t%s\n' "$(date +%s)"
if ! command -v docker >/dev/null; then
    printf 'docker-error\tnot installed\n'
    exit 0
fi
# `docker info` of version 26 succeeds without an answer of the engine.
if ! answer=$(docker version --format '{{.Server.Version}}' 2>&1); then
    printf 'docker-error\t%s\n' "$(printf '%s' "$answer" | one_line)"
    exit 0
fi
answer=$(docker info --format '{{.ServerVersion}}{{printf "\t"}}{{.DriverStatus}}{{printf "\t"}}{{.DockerRootDir}}')
printf 'docker\t%s\n' "$answer"
root=${answer##*	}
# `df` works although the engine's directory may not be readable.
printf 'free\t%s\n' "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $4 }')"
printf 'compose\t%s\n' "$(docker compose version --short 2>&1 | one_line)"
printf 'registry\t%s\n' "$(docker container inspect --format '{{.State.Status}}' "$registry" 2>/dev/null)"

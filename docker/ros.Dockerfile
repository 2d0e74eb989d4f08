# The hand-written half of the robot images. `cargo xtask` appends the generated half: per colcon
# package a stage `build-NAME` (FROM build-tools), a stage `test-NAME`, and per image a stage
# `image-NAME` (FROM runtime) with one layer per package.
#
# Named contexts: `base` is a Debian or Ubuntu with python3 and ca-certificates; `docker` is this
# directory. The main context is the workspace's src/. Optional secrets: `ca`, the CA bundle of the
# machine that builds (networks that intercept TLS), and `pip`, its pip.conf.
#
# What ships is COPY --link of trees whose bytes depend on their inputs only (see ros/seal-tree): a
# robot is not sent a layer again because a build cache was lost.
#
# A base that brings ROS itself (/opt/ros/$ROS_DISTRO, as the official images do) should work too:
# no wheels are installed then. Nobody has tried; with such a base, what nodes need beyond it must
# be in the base.

# ---- this directory's scripts and lists, fetched by one transfer: each COPY --from=docker would be one
FROM scratch AS scripts
COPY --from=docker ros/ /

# ---- apt: everything at once and early, because apt layers never come out the same twice
FROM base AS apt
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends \
        g++ libgmock-dev libgtest-dev make python3-dev python3-venv rsync; \
    if [ -d /opt/ros ]; then \
        apt-get install -y --no-install-recommends \
            cmake ninja-build pybind11-dev python3-colcon-common-extensions python3-pytest; \
    fi; \
    rm -rf /var/lib/apt/lists/*

# ---- wheels: ROS, and apart from it the Python packages of the team, so that adding one of the
# latter does not make robots fetch ROS again
FROM apt AS ros-wheels
COPY --link --from=scripts /install-wheels /usr/local/bin/
COPY --link --from=scripts /requirements/ros.txt /requirements/
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    install-wheels /requirements/ros.txt

FROM apt AS python-wheels
COPY --link --from=scripts /install-wheels /usr/local/bin/
COPY --link --from=scripts /requirements/python.txt /requirements/
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    install-wheels /requirements/python.txt

FROM ros-wheels AS ros-tree
RUN --mount=type=bind,from=scripts,target=/ros \
    /ros/prune-venv && mkdir -p /out/opt && cp -a /opt/venv /out/opt/ && /ros/seal-tree /out

FROM python-wheels AS python-tree
RUN --mount=type=bind,from=scripts,target=/ros \
    /ros/prune-venv && mkdir -p /out/opt && cp -a /opt/venv /out/opt/ && /ros/seal-tree /out

# ---- the rest of what ships: a user, the scripts that start nodes
FROM base AS system-tree
RUN --mount=type=bind,from=scripts,target=/ros \
    /ros/make-system-tree /out

# ---- what images start from
FROM base AS runtime
COPY --link --from=ros-tree /out/ /
COPY --link --from=python-tree /out/ /
COPY --link --from=system-tree /out/ /
# LD_LIBRARY_PATH: the wheels' libraries find each other by it alone. FASTDDS_BUILTIN_TRANSPORTS:
# shared memory made by one user is unreadable to others, and its failure is silent. ROS_HOME: logs
# go where compose mounts a tmpfs, not to an SD card.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LD_LIBRARY_PATH=/opt/venv/lib \
    AMENT_PREFIX_PATH=/opt/venv \
    RMW_IMPLEMENTATION=rmw_fastrtps_cpp \
    FASTDDS_BUILTIN_TRANSPORTS=UDPv4 \
    ROS_HOME=/tmp/ros \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER ros
ENTRYPOINT ["/usr/local/bin/entrypoint"]
CMD ["bash"]

# ---- what builds and tests packages
FROM ros-wheels AS build-tools
COPY --link --from=scripts /requirements/python.txt /requirements/build.txt /requirements/
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    set -eu; \
    install-wheels /requirements/python.txt /requirements/build.txt; \
    mkdir -p /opt/ws/install; \
    cp /proc/sys/kernel/random/uuid /opt/ws/build-tools.id
# PYTHONHASHSEED: the message generators write in the order of their sets.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LD_LIBRARY_PATH=/opt/venv/lib \
    AMENT_PREFIX_PATH=/opt/venv \
    CMAKE_PREFIX_PATH=/opt/venv \
    RMW_IMPLEMENTATION=rmw_fastrtps_cpp \
    FASTDDS_BUILTIN_TRANSPORTS=UDPv4 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONHASHSEED=0
COPY --link --from=scripts /environment.sh /opt/ws/
COPY --link --from=scripts \
    /build-package /test-package /colcon-package /seal-tree /usr/local/bin/

# ---- what people work in: `cargo xtask dev-shell` and .devcontainer/. They have a user there, whose UID becomes
# theirs when the container starts; who has it in the base (Ubuntu's has a user `ubuntu`) gives way. Shells know what
# `colcon build` has installed; login shells begin with a PATH of their own.
FROM build-tools AS dev-shell
RUN set -eu; \
    ! other=$(id -nu 1000 2>/dev/null) || userdel "$other"; \
    useradd --uid 1000 --user-group --create-home --shell /bin/bash dev; \
    echo 'PATH=/opt/venv/bin:$PATH' >/etc/profile.d/dev-shell.sh; \
    echo '. /opt/ws/environment.sh' >>/etc/bash.bashrc; \
    echo '[ ! -r /ws/install/local_setup.bash ] || . /ws/install/local_setup.bash' >>/etc/bash.bashrc
ENV ROS_HOME=/tmp/ros
WORKDIR /ws

# ---- `docker buildx build --target requirements --output docker/ros/requirements`: pin anew
FROM apt AS locking
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,from=scripts,target=/ros \
    set -eu; \
    export PIP_CERT=/etc/ssl/certs/ca-certificates.crt; \
    cp -r /ros/requirements /requirements; \
    /ros/lock-requirements /requirements; \
    rm /requirements/*.in

FROM scratch AS requirements
COPY --from=locking /requirements/ /

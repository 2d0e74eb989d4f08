# The hand-written half of the robot images. `cargo xtask` appends the generated half: for each colcon
# package a stage `build-NAME` (FROM build-tools) and a stage `test-NAME`, and for each image a stage
# `image-NAME` (FROM runtime) with one layer per package.
#
# Named contexts: `base` is a Debian or Ubuntu with python3 and ca-certificates; `docker` is this
# directory. The main context is the workspace's src/. Optional secrets: `ca`, the CA bundle of the
# build machine (for networks that intercept TLS), and `pip`, its pip.conf.
#
# The layers are COPY --link of trees whose bytes depend only on their inputs (see ros/seal-tree), so
# that a lost build cache does not change a layer and it is not sent to robots again.
#
# RUN_DEPENDENCIES and BUILD_DEPENDENCIES are what packages need and the base lacks, as rosdep resolved it: see
# `cargo xtask deps` and ros/install-dependencies.
#
# The base may contain ROS in /opt/ros, as the official images do. Then no wheels of ROS are installed, and packages of
# ros/requirements/python.txt only where the base lacks them.

# ---- this directory's scripts and lists, in one transfer; each COPY --from=docker would make another one
FROM scratch AS scripts
COPY --from=docker ros/ /

# ---- apt: everything at once and early, because apt layers are not reproducible
FROM base AS apt
USER root
COPY --link --from=scripts /install-tools /usr/local/bin/
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    install-tools

# ---- wheels: ROS, and separately the team's Python packages, so that robots need not fetch ROS again
# when a package is added
FROM apt AS ros-wheels
COPY --link --from=scripts /install-wheels /usr/local/bin/
COPY --link --from=scripts /requirements/ros.* /requirements/
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    install-wheels /requirements/ros.txt

FROM apt AS python-wheels
COPY --link --from=scripts /install-wheels /usr/local/bin/
COPY --link --from=scripts /requirements/python.* /requirements/
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    install-wheels /requirements/python.txt
ARG RUN_DEPENDENCIES
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,from=scripts,target=/ros \
    /ros/install-dependencies pip $RUN_DEPENDENCIES

# /out/tree and not /out: before BuildKit copies a path from a stage, it reads all that is next to it.
FROM ros-wheels AS ros-tree
RUN --mount=type=bind,from=scripts,target=/ros \
    /ros/prune-venv && mkdir -p /out/tree/opt && cp -a /opt/venv /out/tree/opt/ && /ros/seal-tree /out/tree

FROM python-wheels AS python-tree
RUN --mount=type=bind,from=scripts,target=/ros \
    /ros/prune-venv && mkdir -p /out/tree/opt /opt/overlay && cp -a /opt/venv /out/tree/opt/ && \
    cp -a /opt/overlay/. /out/tree/ && /ros/seal-tree /out/tree

# ---- the other files of the images: a user, and the scripts that start nodes
FROM base AS system-tree
USER root
RUN --mount=type=bind,from=scripts,target=/ros \
    /ros/make-system-tree /out/tree

# ---- packages of apt that the team's packages need
FROM base AS with-dependencies
USER root
ARG RUN_DEPENDENCIES
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=bind,from=scripts,target=/ros \
    /ros/install-dependencies apt $RUN_DEPENDENCIES

# ---- the stage that all images start from
FROM with-dependencies AS runtime
COPY --link --from=ros-tree /out/tree/ /
COPY --link --from=python-tree /out/tree/ /
COPY --link --from=system-tree /out/tree/ /
# LD_LIBRARY_PATH: without it, the wheels' libraries do not find each other. FASTDDS_BUILTIN_TRANSPORTS:
# other users cannot read one user's shared memory, and DDS then fails silently. ROS_HOME: logs go to
# the tmpfs that compose mounts, not to an SD card. Variables of the base stay as they are.
ENV PATH=/opt/venv/bin:${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin} \
    LD_LIBRARY_PATH=/opt/venv/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
    AMENT_PREFIX_PATH=/opt/venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH} \
    FASTDDS_BUILTIN_TRANSPORTS=${FASTDDS_BUILTIN_TRANSPORTS:-UDPv4} \
    ROS_HOME=/tmp/ros \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER ros
ENTRYPOINT ["/usr/local/bin/entrypoint"]
CMD ["bash"]

# ---- tools that build and test packages; rosdep-keys: keys of package.xml that have another name here
FROM ros-wheels AS build-tools
COPY --link --from=scripts /requirements/python.* /requirements/build.* /requirements/
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    set -eu; \
    install-wheels /requirements/python.txt /requirements/build.txt; \
    mkdir -p /opt/ws/install; \
    echo pybind11-dev > /opt/ws/rosdep-keys; \
    dpkg-query --show > /opt/ws/packages.list; \
    cp /proc/sys/kernel/random/uuid /opt/ws/build-tools.id
COPY --link --from=scripts /install-dependencies /usr/local/bin/
ARG BUILD_DEPENDENCIES
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    [ -z "$BUILD_DEPENDENCIES" ] || { \
        install-dependencies apt $BUILD_DEPENDENCIES && \
        install-dependencies pip $BUILD_DEPENDENCIES && \
        { dpkg-query --show; find /usr/local/lib -maxdepth 3 -name "*.dist-info"; } > /opt/ws/packages.list; \
    }
# PYTHONHASHSEED: the message generators' output follows the order of Python sets.
ENV PATH=/opt/venv/bin:${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin} \
    LD_LIBRARY_PATH=/opt/venv/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
    AMENT_PREFIX_PATH=/opt/venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH} \
    CMAKE_PREFIX_PATH=/opt/venv${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH} \
    FASTDDS_BUILTIN_TRANSPORTS=${FASTDDS_BUILTIN_TRANSPORTS:-UDPv4} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONHASHSEED=0
COPY --link --from=scripts /environment.sh /opt/ws/
COPY --link --from=scripts /rosdep.yaml /usr/local/share/
COPY --link --from=scripts \
    /build-package /test-package /resolve-dependencies /reinstall /colcon-package /colcon-defaults /limit-compilers /seal-tree /usr/local/bin/

# ---- development: `cargo xtask dev-shell` and .devcontainer/. The user `dev` gets the developer's UID when the
# container starts; a user of the base with UID 1000 (Ubuntu's `ubuntu`) is removed. Shells source the result of
# `colcon build`; /etc/profile.d is needed because login shells reset PATH.
FROM build-tools AS dev-shell
RUN --mount=type=bind,from=scripts,target=/ros \
    set -eu; \
    [ -d /opt/ros ] || cp /ros/ros2-missing /usr/local/bin/ros2; \
    ! other=$(id -nu 1000 2>/dev/null) || userdel "$other"; \
    useradd --uid 1000 --user-group --create-home --shell /bin/bash dev; \
    echo 'PATH=/opt/venv/bin:$PATH' >/etc/profile.d/dev-shell.sh; \
    echo '. /opt/ws/environment.sh' >>/etc/bash.bashrc; \
    echo '[ ! -r /ws/install/local_setup.bash ] || . /ws/install/local_setup.bash' >>/etc/bash.bashrc
ENV ROS_HOME=/tmp/ros
WORKDIR /ws

# ---- `docker buildx build --target requirements --output docker/ros/requirements`: update the pins
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

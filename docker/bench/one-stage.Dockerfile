# Dockerfile for deploying by hand, for the comparison in `cargo xtask bench`: as a team would reasonably write it.
# Dependencies come first, so that they are cached; then all sources, then one `colcon build`.
#
# Same base, pinned wheels and start scripts as docker/ros.Dockerfile.
FROM base

RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        g++ libgmock-dev libgtest-dev make python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*

COPY docker/ros/install-wheels /usr/local/bin/
COPY docker/ros/requirements/*.txt /requirements/
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    install-wheels /requirements/ros.txt /requirements/python.txt /requirements/build.txt

ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LD_LIBRARY_PATH=/opt/venv/lib \
    AMENT_PREFIX_PATH=/opt/venv \
    CMAKE_PREFIX_PATH=/opt/venv \
    RMW_IMPLEMENTATION=rmw_fastrtps_cpp \
    FASTDDS_BUILTIN_TRANSPORTS=UDPv4 \
    ROS_HOME=/tmp/ros \
    PYTHONUNBUFFERED=1
COPY docker/ros/environment.sh /opt/ws/
COPY docker/ros/entrypoint docker/ros/ros-run docker/ros/node-alive /usr/local/bin/

WORKDIR /opt/ws
COPY ros_ws/src src
RUN colcon build --cmake-args -G Ninja -DCMAKE_BUILD_TYPE=Release

ENTRYPOINT ["/usr/local/bin/entrypoint"]
CMD ["bash"]

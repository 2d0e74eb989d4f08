FROM base AS busybox
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends busybox-static; \
    mkdir -p /out/bin /out/etc /out/tmp; \
    cp /bin/busybox /out/bin/; \
    for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox "/out/bin/$name"; done; \
    echo root:x:0:0:root:/:/bin/sh >/out/etc/passwd; \
    chmod 1777 /out/tmp; \
    find /out -exec touch -h -d @1 {} +

FROM scratch AS shell
COPY --link --from=busybox /out/ /
ENV PATH=/bin

FROM base AS build-tools
COPY --link --from=docker --chmod=755 build-package test-package /usr/local/bin/

FROM shell AS runtime
COPY --link --from=docker --chmod=755 node /bin/

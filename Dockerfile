# The image of the service, for amd64 and arm64: the program, the certificates of public authorities, and nothing else.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag IMAGE .
#
# Both programs are cross-compiled on the machine that builds, so that no compiler runs under emulation. The base image
# comes from Docker Hub; BUILD_IMAGE names another place, such as a mirror.

ARG RUST_VERSION=1.95.0
ARG BUILD_IMAGE=docker.io/library/rust:${RUST_VERSION}-slim-bookworm

# The compilers, pinned. cargo-auditable puts the list of dependencies into the program, where scanners of images find
# it. zig is the C compiler of ring and mimalloc for both targets, on a build machine of either kind, without a sysroot
# for each. rustc links with its own lld and its own copy of musl.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS tools
ARG RUST_VERSION
# Else rust-toolchain.toml would ask rustup for the newest stable version.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
RUN cargo install cargo-auditable --locked --version 0.7.7
# Each of these is a layer of its own, so that a new version of one does not compile the others anew.
# hadolint ignore=DL3059
RUN rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl
# Debian removes older versions of a package from its servers, so a pinned one could not be installed for long.
# hadolint ignore=DL3008,DL3059
RUN apt-get update \
  && apt-get install --yes --no-install-recommends python3-venv \
  && rm -rf /var/lib/apt/lists/*
# The names of Rust's targets, which build scripts pass on, are not those of zig. Its checks of undefined behavior need
# a runtime that is not linked.
# hadolint ignore=SC2016
RUN python3 -m venv /opt/zig \
  && /opt/zig/bin/pip install --no-cache-dir --only-binary :all: ziglang==0.17.1 \
  && printf '%s\n' '#!/bin/sh' \
    'for word; do shift; case $word in --target=*) ;; *) set -- "$@" "$word" ;; esac; done' \
    'exec /opt/zig/bin/python -m ziglang cc -target "${0##*/cc-}" -fno-sanitize=undefined "$@"' \
    > /usr/local/bin/cc-x86_64-linux-musl \
  && cp /usr/local/bin/cc-x86_64-linux-musl /usr/local/bin/cc-aarch64-linux-musl \
  && printf '%s\n' '#!/bin/sh' 'exec /opt/zig/bin/python -m ziglang ar "$@"' > /usr/local/bin/zig-ar \
  && chmod +x /usr/local/bin/cc-* /usr/local/bin/zig-ar
ENV CC_x86_64_unknown_linux_musl=cc-x86_64-linux-musl \
  CC_aarch64_unknown_linux_musl=cc-aarch64-linux-musl \
  AR_x86_64_unknown_linux_musl=zig-ar \
  AR_aarch64_unknown_linux_musl=zig-ar \
  CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld

# The manifests, and of the sources only the root of each crate, as an empty program. This tree is the same before and
# after an edit of a source, so the layer of the dependencies below is reused. cargo-chef does this too, but is one more
# program to trust and to compile.
FROM --platform=$BUILDPLATFORM tools AS manifests
WORKDIR /work
COPY . .
RUN find . -type f \
    ! -name Cargo.toml ! -name Cargo.lock ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/src/bin/*.rs' \
    ! -path './benches/*.rs' -delete \
  && find . -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" > "$file"; done' sh {} +

FROM --platform=$BUILDPLATFORM tools AS build
# Set by the builder.
ARG TARGETARCH
# `dev` builds faster, for tests of this file.
ARG PROFILE=release
# How many compilers run at a time, else one for each core. The largest one takes 7 GB.
ARG CARGO_BUILD_JOBS
WORKDIR /work
RUN case "$TARGETARCH" in \
    amd64) target=x86_64-unknown-linux-musl ;; \
    arm64) target=aarch64-unknown-linux-musl ;; \
    *) echo "no target of Rust is known here for TARGETARCH=$TARGETARCH" >&2; exit 1 ;; \
  esac \
  && echo "auditable build --locked --profile $PROFILE --bin rafay-relay-sop --target $target" > /arguments
COPY --from=manifests /work .
RUN xargs cargo < /arguments
COPY . .
# Shown by the metrics. It comes this late so that another commit does not build the dependencies anew.
ARG REVISION=unknown
# Cargo compares times: the sources must be newer than the empty programs that were built above. What build scripts of
# dependencies wrote, in target, must not.
RUN find crates src -name '*.rs' -exec touch {} + \
  && SOP_REVISION="$REVISION" xargs cargo < /arguments \
  && install -D -t /image target/*/*/rafay-relay-sop \
  && install -D -m 644 -t /image/etc/ssl/certs /etc/ssl/certs/ca-certificates.crt \
  && install -d -m 1777 /image/tmp

FROM scratch
COPY --from=build /image /
ARG VERSION=0.0.0-dev
ARG REVISION=unknown
ARG SOURCE=https://github.com/OWNER/rafay-relay-sop
LABEL org.opencontainers.image.title="rafay-relay-sop" \
  org.opencontainers.image.description="A declarative runbook interpreter for EKS and Kubernetes operations" \
  org.opencontainers.image.source="${SOURCE}" \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/rafay-relay-sop"]
# On this address the service needs SOP_TOKEN_FILE or SOP_ALLOW_ANONYMOUS; it says so when it starts without.
CMD ["serve", "--listen", ":8080"]

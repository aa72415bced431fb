# syntax=docker/dockerfile:1
# docker build -t lanyard .
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# Dependencies and what is built of them stay in the builder's cache, not in a layer: a change of the sources rebuilds those alone.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --package lanyard \
# Fail points are for tests: none may be shipped.
 && ! grep -qE 'LANYARD_(FAIL_POINTS|WALL_CLOCK)' target/release/lanyard \
 && install -D target/release/lanyard /out/usr/local/bin/lanyard
# What the binary needs beside itself: the C library that it was linked with, and the certificate authorities.
RUN ldd /out/usr/local/bin/lanyard | grep -o '/[^ ]*' | xargs -I{} cp --parents --dereference {} /out \
 && cp --parents --dereference /etc/ssl/certs/ca-certificates.crt /out

# No shell, no package manager, no other file.
FROM scratch
LABEL org.opencontainers.image.title="lanyard" \
      org.opencontainers.image.description="Keeps the managed identities of Azure VMs and VM scale sets as declared" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out /
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/lanyard"]
CMD ["controller"]

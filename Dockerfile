# syntax=docker/dockerfile:1
# docker build -t lanyard .
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# Dependencies and what is built of them stay in the builder's cache, not in a layer: a change of the sources rebuilds those alone.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    .ci/image /out

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

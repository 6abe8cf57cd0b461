# Three images from one build: probot, scaler and parmanu (the operator's command).
#
#   docker build --target probot  --tag parmanu/probot  .
#   docker build --target scaler  --tag parmanu/scaler  .
#   docker build --target parmanu --tag parmanu/parmanu .
#
# The last one is what a build without --target makes. With --build-arg BINARIES=IMAGE the three programs are taken from
# /out of that image instead of being built here.
ARG BINARIES=build

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The clouds' SDKs are a feature of `parmanu`; `scaler` has them by default, and probot must not have them: hence two runs.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package probot \
    && mkdir /out && cp target/release/probot /out/ \
    && cargo build --release --locked --package scaler --package parmanu --features parmanu/sdk \
    && cp target/release/scaler target/release/parmanu /out/

FROM ${BINARIES} AS binaries

# The C library the programs were linked against, certificate authorities, and nothing to run but ours.
FROM gcr.io/distroless/cc-debian12:nonroot AS base
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /etc/parmanu
ENV PARMANU_CONFIG=/etc/parmanu/parmanu.yaml

FROM base AS probot
COPY --from=binaries --chmod=0555 /out/probot /usr/local/bin/probot
# All addresses of the container; which of them are reached from where is decided by what runs it.
ENV PARMANU_LISTEN=0.0.0.0:9641
EXPOSE 9641
# it asks itself, for there is no client in here; whether it is ready too, is asked from outside
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/local/bin/probot", "--health"]
ENTRYPOINT ["/usr/local/bin/probot"]

FROM base AS scaler
COPY --from=binaries --chmod=0555 /out/scaler /usr/local/bin/scaler
ENV PARMANU_LISTEN=0.0.0.0:9642
EXPOSE 9642
# it asks itself, for there is no client in here; whether it is ready too, is asked from outside
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/local/bin/scaler", "--health"]
ENTRYPOINT ["/usr/local/bin/scaler"]

FROM base AS parmanu
COPY --from=binaries --chmod=0555 /out/parmanu /usr/local/bin/parmanu
ENTRYPOINT ["/usr/local/bin/parmanu"]

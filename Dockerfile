# The build needs Rust, a C compiler, make and perl. This image has all of them.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --profile dist --locked -p deployment-tracker && cp target/dist/deployment-tracker /deployment-tracker

FROM debian:bookworm-slim
# TLS to PostgreSQL and Redis needs the system's certificates.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /data --create-home tracker
COPY --from=build /deployment-tracker /usr/local/bin/deployment-tracker
USER tracker
# By default, the service writes its SQLite file and reads config.json or config.toml here.
WORKDIR /data
VOLUME /data
ENV DEPLOYMENT_TRACKER_HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["deployment-tracker"]

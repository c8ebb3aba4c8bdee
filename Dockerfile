# Builds with nothing but Rust, a C compiler, make and perl, all of which this image has.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --profile dist --locked -p deployment-tracker && cp target/dist/deployment-tracker /deployment-tracker

FROM debian:bookworm-slim
# For TLS to PostgreSQL and Redis.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /data --create-home tracker
COPY --from=build /deployment-tracker /usr/local/bin/deployment-tracker
USER tracker
# The SQLite file, unless the configuration says otherwise, and config.json or config.toml, if there is one.
WORKDIR /data
VOLUME /data
ENV DEPLOYMENT_TRACKER_HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["deployment-tracker"]

-- The first two tables are as the Node.js service created them, so that its databases and the queries on them keep working.
CREATE TABLE IF NOT EXISTS "Deployments" (
  "deployment_id" UUID NOT NULL PRIMARY KEY,
  "engine" TEXT,
  "engine_version" TEXT,
  "host" TEXT,
  "user" TEXT,
  "environment" TEXT,
  "package" TEXT,
  "package_url" TEXT,
  "version" TEXT,
  "arguments" TEXT,
  "result" TEXT,
  "elapsed_seconds" INTEGER,
  "createdAt" TIMESTAMPTZ NOT NULL,
  "updatedAt" TIMESTAMPTZ NOT NULL
);

CREATE TABLE IF NOT EXISTS "Servers" (
  "hostname" TEXT NOT NULL,
  "deployment_id" UUID NOT NULL,
  "ip_address" TEXT,
  "result" TEXT,
  "elapsed_seconds" INTEGER,
  "createdAt" TIMESTAMPTZ NOT NULL,
  "updatedAt" TIMESTAMPTZ NOT NULL,
  PRIMARY KEY ("hostname", "deployment_id")
);

CREATE TABLE IF NOT EXISTS "Logs" (
  "deployment_id" TEXT NOT NULL,
  "event_id" UUID NOT NULL,
  "receivedAt" TIMESTAMPTZ NOT NULL,
  "message" TEXT NOT NULL,
  PRIMARY KEY ("deployment_id", "event_id")
);

CREATE TABLE IF NOT EXISTS "Outbox" (
  "output" TEXT NOT NULL,
  "batch_id" UUID NOT NULL,
  "owner" TEXT NOT NULL,
  "is_taken_over" BOOLEAN NOT NULL,
  "messages" BIGINT NOT NULL,
  "bytes" BIGINT NOT NULL,
  "createdAt" TIMESTAMPTZ NOT NULL,
  "events" TEXT NOT NULL,
  PRIMARY KEY ("output", "batch_id")
);

-- The heartbeat of each instance, by which the others notice when it is gone.
CREATE TABLE IF NOT EXISTS "Replicas" (
  "replica" TEXT NOT NULL PRIMARY KEY,
  "seenAt" TIMESTAMPTZ NOT NULL
);

-- The service widens old columns and creates the indexes while it serves:
-- crates/tracker-sql/src/database_server/online_migration.rs.

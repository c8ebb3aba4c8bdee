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
  "createdAt" DATETIME NOT NULL,
  "updatedAt" DATETIME NOT NULL
);

CREATE TABLE IF NOT EXISTS "Servers" (
  "hostname" TEXT NOT NULL,
  "deployment_id" UUID NOT NULL,
  "ip_address" TEXT,
  "result" TEXT,
  "elapsed_seconds" INTEGER,
  "createdAt" DATETIME NOT NULL,
  "updatedAt" DATETIME NOT NULL,
  PRIMARY KEY ("hostname", "deployment_id")
);

CREATE TABLE IF NOT EXISTS "Logs" (
  "deployment_id" TEXT NOT NULL,
  "event_id" UUID NOT NULL,
  "receivedAt" DATETIME NOT NULL,
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
  "createdAt" DATETIME NOT NULL,
  "events" TEXT NOT NULL,
  PRIMARY KEY ("output", "batch_id")
);

-- No index on an expression: the Node.js service reads the schema with SQLite 3.8, which does not support them.
-- In indexes by time, new entries come last, so that pages fill up. Lists read these indexes backward.
CREATE INDEX IF NOT EXISTS "Deployments_newest" ON "Deployments" ("createdAt", "deployment_id");
CREATE INDEX IF NOT EXISTS "Servers_of_deployment" ON "Servers" ("deployment_id");
CREATE INDEX IF NOT EXISTS "Servers_newest" ON "Servers" ("hostname", "createdAt", "deployment_id");

-- The hostnames that are too long for an index. "Servers" has their keys instead.
CREATE TABLE IF NOT EXISTS "Hostnames" (
  "key" TEXT NOT NULL PRIMARY KEY,
  "hostname" TEXT NOT NULL
);

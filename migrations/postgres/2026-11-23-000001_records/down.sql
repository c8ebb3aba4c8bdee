-- Keep the records, so that the Node.js service can use them again.
DROP INDEX IF EXISTS "Deployments_newest";
DROP INDEX IF EXISTS "Servers_of_deployment";
DROP INDEX IF EXISTS "Servers_newest";
DROP INDEX IF EXISTS "Servers_hostnames";
DROP TABLE IF EXISTS "Outbox";
DROP TABLE IF EXISTS "Replicas";
DROP TABLE IF EXISTS "Logs";

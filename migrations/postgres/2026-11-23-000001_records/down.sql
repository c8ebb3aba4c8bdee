-- The records stay: the service before this one can go on with them.
DROP INDEX IF EXISTS "Deployments_newest";
DROP INDEX IF EXISTS "Servers_of_deployment";
DROP INDEX IF EXISTS "Servers_newest";
DROP INDEX IF EXISTS "Servers_hostnames";
DROP TABLE IF EXISTS "Outbox";
DROP TABLE IF EXISTS "Replicas";
DROP TABLE IF EXISTS "Logs";

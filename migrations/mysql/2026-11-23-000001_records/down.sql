-- Keep the records.
DROP TABLE IF EXISTS `Outbox`;
DROP TABLE IF EXISTS `Replicas`;
DROP TABLE IF EXISTS `Logs`;

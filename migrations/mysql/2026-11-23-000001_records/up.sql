-- MySQL commits each statement on its own, so each can run again. The collation sorts texts by code point and treats no two
-- different texts as equal. MariaDB and MySQL have different names for it.
CREATE TABLE IF NOT EXISTS `Deployments` (
  `deployment_id` CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `engine` TEXT,
  `engine_version` TEXT,
  `host` TEXT,
  `user` TEXT,
  `environment` TEXT,
  `package` TEXT,
  `package_url` TEXT,
  `version` TEXT,
  `arguments` MEDIUMTEXT,
  `result` TEXT,
  `elapsed_seconds` INTEGER,
  `createdAt` DATETIME(3) NOT NULL,
  `updatedAt` DATETIME(3) NOT NULL,
  PRIMARY KEY (`deployment_id`),
  KEY `Deployments_newest` (`createdAt`, `deployment_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

-- A hostname of 2,048 characters is too long for a key, so its hash is in the key.
CREATE TABLE IF NOT EXISTS `Servers` (
  `hostname` TEXT NOT NULL,
  `deployment_id` CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `ip_address` TEXT,
  `result` TEXT,
  `elapsed_seconds` INTEGER,
  `createdAt` DATETIME(3) NOT NULL,
  `updatedAt` DATETIME(3) NOT NULL,
  `hostname_hash` BINARY(32) NOT NULL DEFAULT (unhex(sha2(`hostname`, 256))),
  PRIMARY KEY (`deployment_id`, `hostname_hash`),
  KEY `Servers_newest` (`hostname_hash`, `createdAt`, `deployment_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS `Logs` (
  `deployment_id` TEXT NOT NULL,
  `event_id` CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `receivedAt` DATETIME(3) NOT NULL,
  `message` LONGTEXT NOT NULL,
  `deployment_hash` BINARY(32) NOT NULL DEFAULT (unhex(sha2(`deployment_id`, 256))),
  PRIMARY KEY (`deployment_hash`, `event_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS `Outbox` (
  `output` VARCHAR(64) NOT NULL,
  `batch_id` CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `owner` VARCHAR(512) NOT NULL,
  `is_taken_over` BOOLEAN NOT NULL,
  `messages` BIGINT NOT NULL,
  `bytes` BIGINT NOT NULL,
  `createdAt` DATETIME(3) NOT NULL,
  `events` LONGTEXT NOT NULL,
  PRIMARY KEY (`output`, `batch_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

-- The heartbeat of each instance, by which the others notice when it is gone.
CREATE TABLE IF NOT EXISTS `Replicas` (
  `replica` VARCHAR(512) NOT NULL,
  `seenAt` DATETIME(3) NOT NULL,
  PRIMARY KEY (`replica`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

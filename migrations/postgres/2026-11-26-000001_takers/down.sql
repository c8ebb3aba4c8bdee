ALTER TABLE "Replicas" DROP COLUMN "takenBy";

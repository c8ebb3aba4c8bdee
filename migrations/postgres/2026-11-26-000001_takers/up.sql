-- Which instance adopts the pending batches of a dead one.
ALTER TABLE "Replicas" ADD COLUMN "takenBy" TEXT;

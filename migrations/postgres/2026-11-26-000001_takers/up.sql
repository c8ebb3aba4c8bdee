-- Who takes over what a replica owes that is gone.
ALTER TABLE "Replicas" ADD COLUMN "takenBy" TEXT;

-- Which instance adopts the pending batches of a dead one. Runs again after the process was killed between this statement
-- and the commit of the version; MySQL has no ADD COLUMN IF NOT EXISTS.
SET @add_column = IF(
  EXISTS (SELECT 1 FROM information_schema.columns
          WHERE table_schema = database() AND table_name = 'Replicas' AND column_name = 'takenBy'),
  'DO 0',
  'ALTER TABLE `Replicas` ADD COLUMN `takenBy` VARCHAR(512)');
PREPARE add_column FROM @add_column;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;

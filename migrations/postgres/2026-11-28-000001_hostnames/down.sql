DROP TABLE "Hostnames";

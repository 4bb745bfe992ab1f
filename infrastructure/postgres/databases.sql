-- One server, two databases: MLflow migrates its own and must not meet the loop's tables.
CREATE DATABASE mlflow OWNER agentloop;

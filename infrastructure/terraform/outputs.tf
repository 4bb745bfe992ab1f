output "cluster_name" {
  description = "aws eks update-kubeconfig --name NAME"
  value       = aws_eks_cluster.this.name
}

output "irsa_role_arn" {
  description = "For the annotation of the ServiceAccount agentloop (cluster/kuberay/overlays/prod)."
  value       = aws_iam_role.irsa["agentloop"].arn
}

output "autoscaler_role_arn" {
  description = "For the cluster autoscaler that the Ansible playbook installs."
  value       = aws_iam_role.irsa["autoscaler"].arn
}

output "bucket" {
  description = "Data versions and artefacts; MLFLOW_ARTIFACTS_DESTINATION is s3://BUCKET/mlflow."
  value       = aws_s3_bucket.this.bucket
}

output "database_address" {
  description = "Host of Postgres."
  value       = aws_db_instance.this.address
}

output "database_secret_arn" {
  description = "Secrets Manager entry with Postgres' user and password."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

output "efs_file_system_id" {
  description = "For the storage class efs, which the Ansible playbook makes."
  value       = aws_efs_file_system.home.id
}

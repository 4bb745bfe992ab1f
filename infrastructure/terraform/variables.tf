variable "region" {
  description = "AWS region."
  type        = string
}

variable "name" {
  description = "Name of the cluster and prefix of everything else."
  type        = string
  default     = "agentloop"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,30}$", var.name))
    error_message = "Use 3 to 31 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "vpc_id" {
  description = "An existing VPC."
  type        = string
}

variable "private_subnet_ids" {
  description = "Private subnets in at least two zones, with a way out (NAT or endpoints)."
  type        = list(string)

  validation {
    condition     = length(var.private_subnet_ids) >= 2
    error_message = "EKS and RDS need subnets in two zones."
  }
}

variable "api_allowed_cidrs" {
  description = "Networks that may reach the Kubernetes API from outside the VPC; none by default."
  type        = list(string)
  default     = []

  validation {
    condition     = !contains(var.api_allowed_cidrs, "0.0.0.0/0")
    error_message = "Name the networks: the API is not opened to everybody."
  }
}

variable "admin_role_arn" {
  description = "IAM role that administers the cluster."
  type        = string
}

variable "kubernetes_version" {
  description = "EKS version."
  type        = string
  default     = "1.33"
}

variable "namespace" {
  description = "Kubernetes namespace of the platform, as in cluster/kuberay/overlays/prod."
  type        = string
  default     = "agentloop"
}

variable "cpu_nodes" {
  description = "The CPU node group."
  type        = object({ instance_types = list(string), min = number, max = number })
  default     = { instance_types = ["m7i.2xlarge"], min = 2, max = 10 }
}

variable "gpu_nodes" {
  description = "The GPU node group; no node while nothing asks for a GPU."
  type        = object({ instance_types = list(string), min = number, max = number })
  default     = { instance_types = ["g6.xlarge"], min = 0, max = 4 }
}

variable "database" {
  description = "Postgres: size, and whether a second zone stands by."
  type        = object({ instance_class = string, storage_gb = number, multi_az = bool })
  default     = { instance_class = "db.t4g.medium", storage_gb = 50, multi_az = true }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

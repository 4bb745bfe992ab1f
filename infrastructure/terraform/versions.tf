terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
  # State holds ARNs and settings, no password, and still belongs in a locked bucket:
  #   terraform init -backend-config=backend.hcl
  backend "s3" {}
}

output "workflow" {
  description = "Name of the Glue workflow."
  value       = aws_glue_workflow.this.name
}

output "jobs" {
  description = "Names of the Glue jobs."
  value       = local.job_names
}

output "crawlers" {
  description = "Names of the crawlers, by zone."
  value       = local.crawler_names
}

output "databases" {
  description = "Names of the Data Catalog's databases, by zone."
  value       = local.database_names
}

output "zones" {
  description = "Where the lake is, by zone."
  value       = local.zones
}

output "buckets" {
  description = "Names of the buckets, by purpose."
  value       = local.bucket_names
}

output "secrets" {
  description = "Names of the secrets whose values an operator puts, by purpose."
  value       = local.secret_names
}

output "workgroup" {
  description = "Athena workgroup for queries on the lake."
  value       = aws_athena_workgroup.this.name
}

output "alerts_topic" {
  description = "ARN of the topic that alerts go to."
  value       = aws_sns_topic.alerts.arn
}

output "job_security_group" {
  description = "Security group of the jobs that reach a database: let it into yours. Null outside a VPC."
  value       = one(aws_security_group.jobs[*].id)
}

output "warehouse_address" {
  description = "Host of the warehouse, where it was created here."
  value       = one(aws_db_instance.warehouse[*].address)
}

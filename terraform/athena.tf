# Where analysts query, and queries to begin with. A query's first line, after "-- ", is its description.

resource "aws_athena_workgroup" "this" {
  name          = local.prefix
  description   = "Queries on the lake of ${local.prefix}"
  force_destroy = true # query history only

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.athena_scan_limit_mb * 1024 * 1024

    result_configuration {
      output_location = "s3://${aws_s3_bucket.this["athena"].id}/results/"

      encryption_configuration {
        encryption_option = var.kms_key_arn == null ? "SSE_S3" : "SSE_KMS"
        kms_key_arn       = var.kms_key_arn
      }
    }
  }
}

locals {
  queries = {
    for name in fileset("${path.module}/queries", "*.sql") :
    trimsuffix(name, ".sql") => file("${path.module}/queries/${name}")
  }
}

resource "aws_athena_named_query" "this" {
  for_each = local.queries

  name        = each.key
  description = trimprefix(split("\n", each.value)[0], "-- ")
  database    = aws_glue_catalog_database.this["processed"].name
  workgroup   = aws_athena_workgroup.this.id
  query       = each.value
}

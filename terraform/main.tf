# What is said once for every other file: names, places, and the declarations read from the project.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  prefix     = "${var.name}-${var.environment}"
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  arn_suffix = "${var.region}:${local.account_id}"

  # Bucket names are global, so they carry the account.
  bucket_names = {
    for purpose in ["raw", "processed", "artifacts", "athena"] :
    purpose => "${local.prefix}-${purpose}-${local.account_id}"
  }
  zones = { for zone in ["raw", "processed"] : zone => "s3://${local.bucket_names[zone]}" }

  # The catalogue takes no hyphens.
  default_database_names = { for zone in keys(local.zones) : zone => replace("${local.prefix}-${zone}", "-", "_") }
  database_names         = { for zone, default in local.default_database_names : zone => coalesce(var.database_names[zone], default) }
  crawler_names          = { for zone in keys(local.zones) : zone => "${local.prefix}-${zone}" }
  secret_names = {
    source    = "${local.prefix}/${var.secret_names.source}"
    warehouse = "${local.prefix}/${var.secret_names.warehouse}"
  }

  # What workflow.json and crawlers/*.json may name as ${…}. Only values known at plan: they decide for_each.
  placeholders = {
    schedule           = var.schedule.cron
    compact_schedule   = var.compact.cron
    open_batches       = var.compact.open_batches
    source_secret      = local.secret_names.source
    warehouse_secret   = local.secret_names.warehouse
    raw_zone           = local.zones.raw
    processed_zone     = local.zones.processed
    raw_format         = var.raw_format
    sweep              = var.sweep
    max_rejected_ratio = var.max_rejected_ratio
    raw_database       = local.database_names.raw
    processed_database = local.database_names.processed
    # A crawler that runs with the workflow is not started by a job as well: the second start would fail.
    raw_crawler       = var.crawl == "every_run" ? "" : local.crawler_names.raw
    processed_crawler = var.crawl == "every_run" ? "" : local.crawler_names.processed
  }

  code_folder = "${path.module}/../glue_jobs"
  workflow    = jsondecode(templatefile("${local.code_folder}/workflow.json", local.placeholders))
  job_names   = { for job in keys(local.workflow.jobs) : job => "${local.prefix}-${job}" }
  # Of the file as it is: whatever else is wrong, a wrong job's name is told beside it.
  declared_jobs = keys(jsondecode(file("${local.code_folder}/workflow.json")).jobs)

  crawlers = {
    for zone in keys(local.zones) :
    zone => jsondecode(templatefile("${path.module}/../crawlers/${zone}.json", local.placeholders))
  }
}

# The jobs of workflow.json and the code they run.

locals {
  artifacts = merge(
    { for job, it in local.workflow.jobs : it.script => "${local.code_folder}/${it.script}" },
    {
      "totelake.zip"            = "${path.module}/${var.build_folder}/totelake.zip"
      "totelake.gluewheels.zip" = "${path.module}/${var.build_folder}/totelake.gluewheels.zip"
    },
  )
  artifact_keys = { for name, path in local.artifacts : name => "code/${substr(filesha256(path), 0, 16)}/${name}" }
  artifact_uris = { for name, key in local.artifact_keys : name => "s3://${local.bucket_names.artifacts}/${key}" }

  # Said here and not left to the runtime's defaults, so that Glue 5.1, Glue 6.0 and a laptop behave alike.
  # S3A takes the wrong region unless it is told.
  spark_conf = {
    "spark.hadoop.fs.s3a.endpoint.region"      = var.region
    "spark.sql.session.timeZone"               = "UTC"
    "spark.sql.ansi.enabled"                   = "true"
    "spark.sql.legacy.timeParserPolicy"        = "CORRECTED"
    "spark.sql.parquet.outputTimestampType"    = "TIMESTAMP_MICROS"
    "spark.sql.sources.partitionOverwriteMode" = "static"
  }

  workers = {
    for job in keys(local.workflow.jobs) :
    job => lookup(var.workers, job, lookup(var.workers, "default", { type = "G.1X", count = 2, timeout_minutes = null }))
  }

  # A job that is given a secret's name reaches that database, and it alone runs in the network.
  job_secrets = {
    for job, it in local.workflow.jobs :
    job => [for purpose in keys(local.secret_names) : purpose if contains(keys(it.arguments), "--${purpose}_secret")]
  }
  networked_jobs = var.network.mode == "none" ? [] : [for job, secrets in local.job_secrets : job if length(secrets) > 0]

  runtime_arguments = {
    # "--conf" may be given once: further settings are chained within its value.
    "--conf"                            = join(" --conf ", [for key, value in local.spark_conf : "${key}=${value}"])
    "--job-language"                    = "python"
    "--extra-py-files"                  = local.artifact_uris["totelake.zip"]
    "--additional-python-modules"       = local.artifact_uris["totelake.gluewheels.zip"]
    "--python-modules-installer-option" = "--no-index"
    "--enable-metrics"                  = "true"
    "--enable-observability-metrics"    = "true"
    "--enable-job-insights"             = "true"
  }
}

# Each content has a key of its own: a deployment never changes the code under a running job.
resource "aws_s3_object" "code" {
  for_each = local.artifacts

  bucket      = aws_s3_bucket.this["artifacts"].id
  key         = local.artifact_keys[each.key]
  source      = each.value
  source_hash = filesha256(each.value)

  depends_on = [
    aws_s3_bucket_versioning.this,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_policy.this,
  ]

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudwatch_log_group" "jobs" {
  for_each = {
    for pair in setproduct(keys(local.job_names), ["output", "error"]) :
    "${pair[0]}/${pair[1]}" => pair[0]
  }

  name              = "/${local.prefix}/${each.key}"
  retention_in_days = var.retention.log_days
}

resource "aws_glue_job" "this" {
  for_each = local.workflow.jobs

  name              = local.job_names[each.key]
  description       = each.value.description
  role_arn          = aws_iam_role.job[each.key].arn
  glue_version      = var.glue_version
  worker_type       = local.workers[each.key].type
  number_of_workers = local.workers[each.key].count
  timeout           = coalesce(local.workers[each.key].timeout_minutes, each.value.timeout_minutes)
  execution_class   = "STANDARD"
  max_retries       = 0 # the next schedule is the retry
  connections       = contains(local.networked_jobs, each.key) ? [aws_glue_connection.network[0].name] : []

  command {
    script_location = local.artifact_uris[each.value.script]
    python_version  = "3"
  }

  execution_property {
    max_concurrent_runs = 1
  }

  default_arguments = merge(
    local.runtime_arguments,
    { "--custom-logGroup-prefix" = "/${local.prefix}/${each.key}" },
    # What is absent is empty to a job; Glue is not given empty values.
    { for name, value in each.value.arguments : name => value if value != "" },
  )

  depends_on = [aws_s3_object.code, aws_cloudwatch_log_group.jobs, aws_iam_role_policy.job]
}

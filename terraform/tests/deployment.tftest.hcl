# What the plan holds, with a mocked provider: no account, no network.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment  = "test"
  build_folder = "tests/build"
}

run "defaults" {
  command = plan

  assert {
    condition     = alltrue([for job in aws_glue_job.this : job.glue_version == "5.1" && job.max_retries == 0 && job.worker_type == "G.1X" && job.number_of_workers == 2 && one(job.execution_property).max_concurrent_runs == 1])
    error_message = "Every job runs on Glue 5.1 with two G.1X workers, once at a time, without retries."
  }
  assert {
    condition     = alltrue([for job in aws_glue_job.this : job.timeout == 60])
    error_message = "The timeout is that of workflow.json unless a variable says otherwise."
  }
  assert {
    condition     = alltrue([for job in aws_glue_job.this : strcontains(job.default_arguments["--conf"], "spark.hadoop.fs.s3a.endpoint.region=eu-west-2 --conf ") && length(regexall("--conf ", job.default_arguments["--conf"])) == 5])
    error_message = "S3A is told its region, and six settings are chained in one --conf."
  }
  assert {
    condition     = aws_glue_job.this["extract"].default_arguments["--source_secret"] == "totesys-test/source" && aws_glue_job.this["extract"].default_arguments["--raw_zone"] == "s3://totesys-test-raw-123456789012"
    error_message = "The placeholders of workflow.json are filled in."
  }
  assert {
    condition     = aws_glue_job.this["transform"].default_arguments["--processed_database"] == "totesys_test_processed" && aws_glue_job.this["transform"].default_arguments["--processed_crawler"] == "totesys-test-processed"
    error_message = "A job registers what it commits, and starts its zone's crawler on a change of shape."
  }
  assert {
    condition     = aws_glue_workflow.this.max_concurrent_runs == 1
    error_message = "Two runs of the workflow never overlap."
  }
  assert {
    condition     = aws_glue_trigger.this["start"].schedule == "cron(0/20 * * * ? *)" && aws_glue_trigger.this["start"].enabled
    error_message = "A run starts every twenty minutes."
  }
  assert {
    condition     = length(aws_glue_trigger.this) == 4 && alltrue([for c in aws_glue_crawler.this : c.schedule == null])
    error_message = "By default no crawler is in the workflow and none has a schedule."
  }
  assert {
    condition     = aws_glue_trigger.this["weekly"].workflow_name == null && aws_glue_trigger.this["start"].workflow_name != null && aws_glue_trigger.this["weekly"].schedule == "cron(40 2 ? * SUN *)"
    error_message = "Merging starts weekly, beside the workflow, which has one start trigger."
  }
  assert {
    condition     = alltrue([for trigger in aws_glue_trigger.this : alltrue([for action in trigger.actions : action.job_name != "totesys-test-reconcile"])])
    error_message = "Nothing starts the job that is started on demand."
  }
  assert {
    condition     = toset(jsondecode(aws_cloudwatch_event_rule.this["jobs"].event_pattern).detail.jobName) == toset([for job in aws_glue_job.this : job.name]) && toset(jsondecode(aws_cloudwatch_event_rule.this["crawlers"].event_pattern).detail.crawlerName) == toset([for crawler in aws_glue_crawler.this : crawler.name])
    error_message = "The event rules name every job and every crawler."
  }
  assert {
    condition     = toset([for name in keys(aws_cloudwatch_metric_alarm.this) : name if startswith(name, "duration-")]) == toset(["duration-extract", "duration-transform", "duration-load"])
    error_message = "The jobs that a start may wait for have an alarm on their duration."
  }
  assert {
    condition     = aws_glue_job.this["compact"].default_arguments["--open_batches"] == "100" && length(aws_glue_job.this["compact"].connections) == 0
    error_message = "Merging leaves the newest batches alone and needs no network."
  }
  assert {
    condition     = alltrue([for policy in aws_s3_bucket_public_access_block.this : policy.block_public_acls && policy.block_public_policy && policy.ignore_public_acls && policy.restrict_public_buckets])
    error_message = "No bucket can be made public."
  }
  assert {
    condition     = alltrue([for policy in aws_s3_bucket_policy.this : strcontains(policy.policy, "aws:SecureTransport")])
    error_message = "Every bucket refuses what does not come by TLS."
  }
  assert {
    condition     = sort([for purpose, policy in aws_s3_bucket_policy.this : purpose if strcontains(policy.policy, "s3:if-none-match")]) == tolist(["processed", "raw"])
    error_message = "The manifests of both zones are create-only."
  }
  assert {
    condition     = [for purpose, rules in aws_s3_bucket_lifecycle_configuration.this : purpose if length(flatten([for rule in rules.rule : rule.expiration])) > 0] == ["athena"]
    error_message = "Nothing expires but the results of queries."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["freshness"].treat_missing_data == "breaching"
    error_message = "Silence is a failure."
  }
  assert {
    condition     = length(aws_glue_connection.network) == 0 && length(aws_vpc.this) == 0 && length(aws_db_instance.warehouse) == 0
    error_message = "By default there is no network and no RDS to pay for."
  }
  assert {
    condition     = length(aws_glue_classifier.csv) == 0 && aws_glue_catalog_table.declared["quarantine"].storage_descriptor[0].location == "s3://totesys-test-processed-123456789012/quarantine/"
    error_message = "Parquet needs no classifier, and quarantine is a table before its first row."
  }
  assert {
    condition     = alltrue([for statement in flatten(values(local.job_statements)) : !contains(statement.Resource, "*") || contains(["PublishMetrics", "LookAtNetwork"], statement.Sid)])
    error_message = "Only what AWS cannot narrow has the resource *."
  }
}

run "schedule_off" {
  command = plan

  variables {
    schedule = { enabled = false }
  }

  assert {
    condition     = !aws_glue_trigger.this["start"].enabled && !aws_glue_trigger.this["weekly"].enabled && aws_glue_trigger.this["after-extract"].enabled
    error_message = "Only what has a schedule is off: a run started by hand goes all the way."
  }
  assert {
    condition     = !contains(keys(aws_cloudwatch_metric_alarm.this), "freshness")
    error_message = "Nothing is asked to be fresh when nothing is scheduled."
  }
}

run "raw_csv" {
  command = plan

  variables {
    raw_format = "csv"
  }

  assert {
    condition     = aws_glue_crawler.this["raw"].classifiers == tolist(["totesys-test-raw-csv"]) && length(aws_glue_crawler.this["processed"].classifiers) == 0
    error_message = "The raw zone's crawler knows quotes in CSV; the processed zone is Parquet."
  }
  assert {
    condition     = aws_glue_classifier.csv["raw"].csv_classifier[0].serde == "OpenCSVSerDe" && aws_glue_classifier.csv["raw"].csv_classifier[0].contains_header == "PRESENT"
    error_message = "Fields may be in quotes and the first line names them."
  }
}

run "crawl_daily" {
  command = plan

  variables {
    crawl = "daily"
  }

  assert {
    condition     = alltrue([for crawler in aws_glue_crawler.this : crawler.schedule == "cron(10 3 * * ? *)"]) && length(aws_glue_trigger.this) == 4
    error_message = "Both crawlers run every night, outside the workflow."
  }
}

run "crawl_every_run" {
  command = plan

  variables {
    crawl = "every_run"
  }

  assert {
    condition     = toset(keys(aws_glue_trigger.this)) == toset(["start", "after-extract", "after-transform", "crawl-raw", "crawl-processed"]) && alltrue([for trigger in aws_glue_trigger.this : trigger.workflow_name == "totesys-test"])
    error_message = "Nothing is merged that every run would catalogue again, and all triggers are the workflow's."
  }
  assert {
    condition     = one(aws_glue_trigger.this["crawl-raw"].actions).crawler_name == "totesys-test-raw" && one(aws_glue_trigger.this["crawl-processed"].actions).crawler_name == "totesys-test-processed"
    error_message = "Each crawler is a branch of its own."
  }
  assert {
    condition     = alltrue([for trigger in aws_glue_trigger.this : alltrue([for condition in flatten(trigger.predicate[*].conditions) : condition.crawler_name == null || condition.crawler_name == ""])])
    error_message = "Nothing waits for a crawler."
  }
  assert {
    condition     = alltrue([for job in aws_glue_job.this : alltrue([for name in keys(job.default_arguments) : !endswith(name, "_crawler")])])
    error_message = "What the workflow crawls, no job starts as well."
  }
  assert {
    condition     = alltrue([for statement in flatten(values(local.job_statements)) : statement.Sid != "StartCrawler"])
    error_message = "What no job starts, no job may start."
  }
}

run "compact_off" {
  command = plan

  variables {
    compact = { enabled = false }
  }

  assert {
    condition     = toset(keys(aws_glue_trigger.this)) == toset(["start", "after-extract", "after-transform"])
    error_message = "Without merging nothing stands beside the workflow."
  }
}

run "workers_by_job" {
  command = plan

  variables {
    workers = { default = { count = 3 }, load = { type = "G.2X", timeout_minutes = 20 } }
  }

  assert {
    condition     = aws_glue_job.this["extract"].number_of_workers == 3 && aws_glue_job.this["extract"].timeout == 60
    error_message = "default is for the jobs that are not named."
  }
  assert {
    condition     = aws_glue_job.this["load"].worker_type == "G.2X" && aws_glue_job.this["load"].number_of_workers == 2 && aws_glue_job.this["load"].timeout == 20
    error_message = "A job that is named has its own size."
  }
}

run "glue_6" {
  command = plan

  variables {
    glue_version = "6.0"
  }

  assert {
    condition     = alltrue([for job in aws_glue_job.this : job.glue_version == "6.0"])
    error_message = "All jobs run on the chosen runtime."
  }
}

run "own_key" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = alltrue([for it in aws_s3_bucket_server_side_encryption_configuration.this : one(one(it.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"])
    error_message = "Every bucket is encrypted with the key."
  }
  assert {
    condition     = alltrue([for statements in concat(values(local.job_statements), values(local.crawler_statements)) : contains(statements[*].Sid, "UseKey")])
    error_message = "Whoever reads or writes may use the key."
  }
}

run "existing_network" {
  command = plan

  variables {
    network = { mode = "existing", vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"] }
  }

  assert {
    condition     = toset([for job, it in aws_glue_job.this : job if length(it.connections) == 1]) == toset(["extract", "load", "reconcile"])
    error_message = "Only the jobs that reach a database run in the network."
  }
  assert {
    condition     = alltrue([for statement in flatten(values(local.job_statements)) : !contains(statement.Resource, "*") || contains(["PublishMetrics", "LookAtNetwork"], statement.Sid)])
    error_message = "In a network, too, only what AWS cannot narrow has the resource *."
  }
  assert {
    condition     = length(aws_vpc.this) == 0 && length(aws_vpc_endpoint.interface) == 0
    error_message = "Nothing is built in a network that exists."
  }
}

run "new_network_with_warehouse" {
  command = plan

  variables {
    network   = { mode = "new" }
    warehouse = { create = true }
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.interface)) == toset(["secretsmanager", "glue", "logs", "monitoring"])
    error_message = "The endpoints are those that a job calls."
  }
  assert {
    condition     = aws_db_instance.warehouse[0].storage_encrypted && !aws_db_instance.warehouse[0].publicly_accessible && aws_db_instance.warehouse[0].deletion_protection
    error_message = "The warehouse is encrypted, private and protected."
  }
}

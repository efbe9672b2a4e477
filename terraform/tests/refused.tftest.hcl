# What is refused at plan, each by the validation of the variable that is wrong.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment  = "test"
  build_folder = "tests/build"
}

run "name_too_long" {
  command = plan

  variables {
    name = "a-name-that-is-far-too-long"
  }

  expect_failures = [var.name]
}

run "environment_in_capitals" {
  command = plan

  variables {
    environment = "Prod"
  }

  expect_failures = [var.environment]
}

run "region_unknown_form" {
  command = plan

  variables {
    region = "London"
  }

  expect_failures = [var.region]
}

run "schedule_not_cron" {
  command = plan

  variables {
    schedule = { cron = "every 20 minutes" }
  }

  expect_failures = [var.schedule]
}

run "schedule_rate" {
  command = plan

  variables {
    schedule = { cron = "rate(20 minutes)" }
  }

  expect_failures = [var.schedule]
}

run "schedule_without_question_mark" {
  command = plan

  variables {
    schedule = { cron = "cron(0/20 * * * * *)" }
  }

  expect_failures = [var.schedule]
}

run "schedule_too_often" {
  command = plan

  variables {
    schedule = { cron = "cron(0/2 * * * ? *)" }
    alarms   = { duration_minutes = 1 }
  }

  expect_failures = [aws_glue_workflow.this]
}

run "schedule_in_ten_minutes_on_end" {
  command = plan

  variables {
    schedule = { cron = "cron(0-9 * * * ? *)", enabled = false }
  }

  expect_failures = [aws_glue_workflow.this]
}

run "schedule_at_25_hours" {
  command = plan

  variables {
    schedule = { cron = "cron(0 25 * * ? *)" }
    alarms   = { freshness_minutes = 120 }
  }

  expect_failures = [var.schedule]
}

run "raw_format_unknown" {
  command = plan

  variables {
    raw_format = "avro"
  }

  expect_failures = [var.raw_format]
}

run "sweep_unknown" {
  command = plan

  variables {
    sweep = "never"
  }

  expect_failures = [var.sweep]
}

run "rejected_ratio_in_percent" {
  command = plan

  variables {
    max_rejected_ratio = 50
  }

  expect_failures = [var.max_rejected_ratio]
}

run "glue_version_old" {
  command = plan

  variables {
    glue_version = "4.0"
  }

  expect_failures = [var.glue_version]
}

run "worker_type_unknown" {
  command = plan

  variables {
    workers = { default = { type = "G.3X" } }
  }

  expect_failures = [var.workers]
}

run "one_worker" {
  command = plan

  variables {
    workers = { default = { count = 1 } }
  }

  expect_failures = [var.workers]
}

run "timeout_too_short" {
  command = plan

  variables {
    workers = { load = { timeout_minutes = 2 } }
  }

  expect_failures = [var.workers]
}

run "workers_of_no_job" {
  command = plan

  variables {
    workers = { lod = { count = 4 } }
  }

  expect_failures = [var.workers]
}

run "crawl_unknown" {
  command = plan

  variables {
    crawl = "hourly"
  }

  expect_failures = [var.crawl]
}

run "key_alias" {
  command = plan

  variables {
    kms_key_arn = "alias/lake"
  }

  expect_failures = [var.kms_key_arn]
}

run "log_days_unknown" {
  command = plan

  variables {
    retention = { log_days = 45 }
  }

  expect_failures = [var.retention]
}

run "nothing_kept" {
  command = plan

  variables {
    retention = { old_versions_days = 0 }
  }

  expect_failures = [var.retention]
}

run "scan_limit_too_small" {
  command = plan

  variables {
    athena_scan_limit_mb = 5
  }

  expect_failures = [var.athena_scan_limit_mb]
}

run "databases_overlap" {
  command = plan

  variables {
    database_names = { raw = "lake", processed = "lake" }
  }

  expect_failures = [var.database_names]
}

run "database_with_hyphen" {
  command = plan

  variables {
    database_names = { raw = "raw-lake" }
  }

  expect_failures = [var.database_names]
}

run "database_named_as_the_other_is_by_default" {
  command = plan

  variables {
    database_names = { raw = "totesys_test_processed" }
  }

  expect_failures = [var.database_names]
}

run "secret_with_a_blank" {
  command = plan

  variables {
    secret_names = { source = "my source" }
  }

  expect_failures = [var.secret_names]
}

run "secrets_overlap" {
  command = plan

  variables {
    secret_names = { source = "db", warehouse = "db" }
  }

  expect_failures = [var.secret_names]
}

run "network_unknown" {
  command = plan

  variables {
    network = { mode = "vpn" }
  }

  expect_failures = [var.network]
}

run "network_without_subnets" {
  command = plan

  variables {
    network = { mode = "existing", vpc_id = "vpc-1" }
  }

  expect_failures = [var.network]
}

run "network_without_room" {
  command = plan

  variables {
    network = { mode = "new", cidr = "10.0.0.0/31" }
  }

  expect_failures = [var.network]
}

run "warehouse_without_network" {
  command = plan

  variables {
    warehouse = { create = true }
  }

  expect_failures = [var.warehouse]
}

run "bad_email" {
  command = plan

  variables {
    alert_emails = ["someone.example.com"]
  }

  expect_failures = [var.alert_emails]
}

run "freshness_shorter_than_schedule" {
  command = plan

  variables {
    alarms = { freshness_minutes = 15 }
  }

  expect_failures = [var.alarms]
}

run "freshness_shorter_than_an_hourly_schedule" {
  command = plan

  variables {
    schedule = { cron = "cron(15 * * * ? *)" }
  }

  expect_failures = [var.alarms]
}

run "duration_of_a_whole_pause" {
  command = plan

  variables {
    alarms = { duration_minutes = 20 }
  }

  expect_failures = [var.alarms]
}

run "rejected_rows_zero" {
  command = plan

  variables {
    alarms = { rejected_rows = 0 }
  }

  expect_failures = [var.alarms]
}

run "warehouse_in_one_subnet" {
  command = plan

  variables {
    network   = { mode = "existing", vpc_id = "vpc-1", subnet_ids = ["subnet-1"] }
    warehouse = { create = true }
  }

  expect_failures = [var.warehouse]
}

run "freshness_over_a_day" {
  command = plan

  variables {
    alarms = { freshness_minutes = 2000 }
  }

  expect_failures = [var.alarms]
}

run "warehouse_too_old" {
  command = plan

  variables {
    warehouse = { engine_version = "14.9" }
  }

  expect_failures = [var.warehouse]
}

run "compact_that_is_no_cron" {
  command = plan

  variables {
    compact = { cron = "rate(7 days)" }
  }

  expect_failures = [var.compact]
}

run "compact_that_leaves_no_batch_alone" {
  command = plan

  variables {
    compact = { open_batches = 0 }
  }

  expect_failures = [var.compact]
}

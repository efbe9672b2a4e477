# Who is told what: events for what failed, alarms for what did not happen or took too long, a dashboard to look at.

locals {
  # Published by the jobs. Job is the name of the Glue job; Table is added where rows are counted by table.
  metric_namespace = "Totelake"

  # A workflow run that failed ends as COMPLETED and sends no event: the jobs and the crawlers are watched.
  event_rules = {
    jobs = {
      description = "A job failed, ran out of time or was stopped"
      type        = "Glue Job State Change"
      detail      = { jobName = sort(values(local.job_names)), state = ["FAILED", "TIMEOUT", "STOPPED"] }
      paths       = { name = "$.detail.jobName", state = "$.detail.state", run = "$.detail.jobRunId", message = "$.detail.message" }
      template    = "\"Job <name> is <state>, run <run>: <message>\""
    }
    crawlers = {
      description = "A crawler failed"
      type        = "Glue Crawler State Change"
      detail      = { crawlerName = sort(values(local.crawler_names)), state = ["Failed"] }
      paths       = { name = "$.detail.crawlerName", state = "$.detail.state", message = "$.detail.message" }
      template    = "\"Crawler <name> is <state>: <message>\""
    }
  }

  alarms = merge(
    # A start beyond max_concurrent_runs is dropped without an event, and so is a schedule that is off by mistake:
    # that the warehouse is fresh is therefore asked for, and silence is a failure.
    { for on in [var.schedule.enabled] : "freshness" => {
      description = "The warehouse has not been brought up to date for ${var.alarms.freshness_minutes} minutes"
      metric      = "FreshnessSeconds"
      job         = "load"
      statistic   = "Maximum"
      period      = var.alarms.freshness_minutes * 60
      threshold   = var.alarms.freshness_minutes * 60
      missing     = "breaching"
    } if on },
    { rejected = {
      description = "Rows were rejected: processed/quarantine says which and why"
      metric      = "RowsRejected"
      job         = "transform"
      statistic   = "Sum"
      period      = 300
      threshold   = var.alarms.rejected_rows
      missing     = "notBreaching"
    } },
    { for job, access in local.job_access : "catalog-${job}" => {
      description = "${job} could not register what it committed: Athena does not see the newest batches"
      metric      = "RegistrationFailures"
      job         = job
      statistic   = "Sum"
      period      = 300
      threshold   = 1
      missing     = "notBreaching"
    } if length(access.registers) > 0 },
    # A job beside the workflow keeps no start from happening: its timeout is enough, of which an event tells.
    { for job, it in local.workflow.jobs : "duration-${job}" => {
      description = "${job} takes ${var.alarms.duration_minutes} minutes or more: the next start may be dropped"
      metric      = "BatchSeconds"
      job         = job
      statistic   = "Maximum"
      period      = 300
      threshold   = var.alarms.duration_minutes * 60
      missing     = "notBreaching"
    } if !try(it.on_demand, false) && !contains(flatten([for it in local.beside : it.actions[*].job]), job) },
  )
}

resource "aws_sns_topic" "alerts" {
  name = "${local.prefix}-alerts"
}

resource "aws_sns_topic_policy" "alerts" {
  arn = aws_sns_topic.alerts.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AlarmsOfThisAccount"
        Effect    = "Allow"
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alerts.arn
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
      },
      # EventBridge says nothing that a condition could look at when it publishes: with one, no event would arrive.
      {
        Sid       = "Events"
        Effect    = "Allow"
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alerts.arn
        Principal = { Service = "events.amazonaws.com" }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.alert_emails

  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.event_rules

  name        = "${local.prefix}-${each.key}"
  description = each.value.description
  event_pattern = jsonencode({
    source        = ["aws.glue"]
    "detail-type" = [each.value.type]
    detail        = each.value.detail
  })
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.event_rules

  rule      = aws_cloudwatch_event_rule.this[each.key].name
  target_id = "alerts"
  arn       = aws_sns_topic.alerts.arn

  input_transformer {
    input_paths    = each.value.paths
    input_template = each.value.template
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = each.value.description
  namespace           = local.metric_namespace
  metric_name         = each.value.metric
  dimensions          = { Job = local.job_names[each.value.job] }
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alerts.arn]
  ok_actions          = [aws_sns_topic.alerts.arn]
}

locals {
  # One line per table, whatever tables there are.
  by_table = { for metric, job in { RowsLanded = "extract", RowsRejected = "transform", RowsLoaded = "load" } :
    metric => "SEARCH('{${local.metric_namespace},Job,Table} MetricName=\"${metric}\" Job=\"${local.job_names[job]}\"', 'Sum', 300)"
  }

  # A worker of type G.nX is n DPU; Glue counts the milliseconds of a run.
  dpu_hours = [for index, job in keys(local.workflow.jobs) : {
    id     = "ms${index}"
    name   = local.job_names[job]
    factor = local.workers[job].count * tonumber(regex("[0-9]+", local.workers[job].type))
  }]

  widgets = [
    {
      title = "Freshness of the warehouse (seconds)"
      metrics = [
        [local.metric_namespace, "FreshnessSeconds", "Job", local.job_names.load, { stat = "Maximum" }],
      ]
      annotations = { horizontal = [{ label = "alarm", value = var.alarms.freshness_minutes * 60 }] }
    },
    {
      title       = "Seconds of a run"
      metrics     = [for name in values(local.job_names) : [local.metric_namespace, "BatchSeconds", "Job", name, { stat = "Maximum" }]]
      annotations = { horizontal = [{ label = "alarm", value = var.alarms.duration_minutes * 60 }] }
    },
    { title = "Rows landed by table", metrics = [[{ expression = local.by_table.RowsLanded }]], annotations = {} },
    { title = "Rows loaded by table", metrics = [[{ expression = local.by_table.RowsLoaded }]], annotations = {} },
    { title = "Rows rejected by table", metrics = [[{ expression = local.by_table.RowsRejected }]], annotations = {} },
    {
      title = "DPU-hours"
      metrics = concat(
        [for it in local.dpu_hours : ["Glue", "glue.driver.aggregate.elapsedTime", "JobName", it.name, "JobRunId", "ALL", "Type", "count", { id = it.id, stat = "Sum", visible = false }]],
        [for it in local.dpu_hours : [{ expression = "${it.id} * ${it.factor} / 3600000", label = it.name }]],
      )
      annotations = {}
    },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = local.prefix
  dashboard_body = jsonencode({
    widgets = [for index, widget in local.widgets : {
      type   = "metric"
      x      = (index % 2) * 12
      y      = floor(index / 2) * 6
      width  = 12
      height = 6
      properties = {
        title       = widget.title
        region      = var.region
        view        = "timeSeries"
        period      = 300
        metrics     = widget.metrics
        annotations = widget.annotations
      }
    }]
  })
}

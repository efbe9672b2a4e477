# The workflow and its triggers, as workflow.json declares them, and the crawlers as branches beside it.

locals {
  # What a variable that holds a schedule has to look like. Each field of AWS's cron is a list of values, ranges and
  # steps; the days have words of their own besides.
  cron_fields = [for field in [
    { value = "[0-5]?[0-9]", word = "" },
    { value = "(?:[01]?[0-9]|2[0-3])", word = "" },
    { value = "(?:0?[1-9]|[12][0-9]|3[01])", word = "|\\?|L|LW|[1-9][0-9]?W" },
    { value = "(?:0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)", word = "" },
    { value = "(?:[1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)", word = "|\\?|L|[1-7]L|[1-7]#[1-5]" },
    { value = "(?:19[7-9]|20[0-9]|21[0-9])[0-9]", word = "" },
    ] : merge(field, { item = "(?:\\*|${field.value}(?:-${field.value})?)(?:/[1-9][0-9]*)?" })
  ]
  cron_pattern = "^cron\\(${join(" ", [for it in local.cron_fields : "(?:${it.item}(?:,${it.item})*${it.word})"])}\\)$"

  # From its first field: the minutes of an hour in which a run starts, and how far they are apart.
  start_items = [
    for it in regexall("(\\*|[0-9]+)(?:-([0-9]+))?(?:/([0-9]+))?", split(" ", var.schedule.cron)[0]) : {
      from = tonumber(it[0] == "*" ? "0" : it[0])
      to   = tonumber(it[1] != null ? it[1] : it[0] == "*" || it[2] != null ? "59" : it[0])
      step = tonumber(it[2] != null ? it[2] : "1")
    }
  ]
  starts = [
    for minute in range(60) : minute
    if anytrue([for it in local.start_items : minute >= it.from && minute <= it.to && (minute - it.from) % it.step == 0])
  ]
  pauses = [for index, minute in local.starts : try(local.starts[index + 1], local.starts[0] + 60) - minute]

  # The job after which a zone has something new to crawl. Nothing waits for a crawler.
  crawler_follows = { raw = "extract", processed = "transform" }

  crawl_triggers = {
    for zone, job in local.crawler_follows : "crawl-${zone}" => {
      type       = "CONDITIONAL"
      logical    = "AND"
      conditions = [{ job = job, state = "SUCCEEDED" }]
      actions    = [{ crawler = zone }]
    } if var.crawl == "every_run"
  }

  # A workflow has one trigger that starts it: what has a schedule of its own stands beside it.
  beside = { for name, it in local.workflow.triggers : name => it if !try(it.in_workflow, true) }

  triggers = merge(
    { for name, it in local.workflow.triggers : name => it if !contains(keys(local.beside), name) },
    local.crawl_triggers,
    var.compact.enabled && var.crawl != "every_run" ? local.beside : {},
  )
}

resource "aws_glue_workflow" "this" {
  name                = local.prefix
  description         = local.workflow.description
  max_concurrent_runs = local.workflow.max_concurrent_runs

  lifecycle {
    precondition {
      condition     = try(min(local.pauses...) >= 5, false)
      error_message = "Glue starts a schedule every 5 minutes at the most; got schedule.cron \"${var.schedule.cron}\"."
    }
  }
}

# A trigger that is off cannot be changed: the provider waits for it to be on. So what decides when a trigger fires
# makes a new one, which starts in the right state.
resource "terraform_data" "firing" {
  for_each = local.triggers

  input = {
    schedule = try(each.value.schedule, null)
    enabled  = each.value.type == "SCHEDULED" ? var.schedule.enabled : true
  }
}

resource "aws_glue_trigger" "this" {
  for_each = local.triggers

  name          = "${local.prefix}-${each.key}"
  workflow_name = contains(keys(local.beside), each.key) ? null : aws_glue_workflow.this.name
  type          = each.value.type
  schedule      = terraform_data.firing[each.key].input.schedule
  enabled       = terraform_data.firing[each.key].input.enabled

  dynamic "predicate" {
    for_each = can(each.value.conditions) ? [each.value] : []

    content {
      logical = predicate.value.logical

      dynamic "conditions" {
        for_each = predicate.value.conditions

        content {
          job_name         = aws_glue_job.this[conditions.value.job].name
          state            = conditions.value.state
          logical_operator = "EQUALS"
        }
      }
    }
  }

  dynamic "actions" {
    for_each = each.value.actions

    content {
      job_name     = try(aws_glue_job.this[actions.value.job].name, null)
      crawler_name = try(aws_glue_crawler.this[actions.value.crawler].name, null)
    }
  }

  lifecycle {
    replace_triggered_by = [terraform_data.firing[each.key]]
  }
}

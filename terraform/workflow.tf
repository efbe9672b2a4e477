# The workflow and its triggers, as workflow.json declares them, and the crawlers as branches beside it.

locals {
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

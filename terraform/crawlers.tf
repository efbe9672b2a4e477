# One crawler per zone, as crawlers/*.json declare them.

# The compact job excludes the folders of closed batches from crawls, which is more than is declared and has to stay.
# So what is declared makes a new crawler when it changes, and the next compact excludes again.
resource "terraform_data" "crawled" {
  for_each = local.crawlers

  input = { targets = each.value.targets, exclusions = each.value.exclusions }
}

# Only where there is CSV: a classifier of one's own is asked before Glue's, whatever the file. Glue's knows no quotes.
resource "aws_glue_classifier" "csv" {
  for_each = { for zone, crawler in local.crawlers : zone => crawler.csv_classifier if var.raw_format == "csv" && can(crawler.csv_classifier) }

  name = "${local.crawler_names[each.key]}-csv"

  csv_classifier {
    contains_header        = each.value.header
    delimiter              = each.value.delimiter
    quote_symbol           = each.value.quote
    serde                  = each.value.serde
    disable_value_trimming = true
  }
}

resource "aws_glue_crawler" "this" {
  for_each = local.crawlers

  name          = local.crawler_names[each.key]
  description   = each.value.description
  database_name = aws_glue_catalog_database.this[each.key].name
  role          = aws_iam_role.crawler[each.key].arn
  schedule      = var.crawl == "daily" ? "cron(10 3 * * ? *)" : null
  configuration = jsonencode(each.value.configuration)
  classifiers   = [for zone, classifier in aws_glue_classifier.csv : classifier.name if zone == each.key]

  dynamic "s3_target" {
    for_each = each.value.targets

    content {
      path       = s3_target.value
      exclusions = each.value.exclusions
    }
  }

  recrawl_policy {
    recrawl_behavior = each.value.recrawl_behavior
  }

  schema_change_policy {
    update_behavior = each.value.schema_change_policy.update_behavior
    delete_behavior = each.value.schema_change_policy.delete_behavior
  }

  depends_on = [aws_iam_role_policy.crawler]

  lifecycle {
    ignore_changes       = [s3_target]
    replace_triggered_by = [terraform_data.crawled[each.key]]
  }
}

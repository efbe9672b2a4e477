# One crawler per zone, as crawlers/*.json declare them.

resource "aws_glue_crawler" "this" {
  for_each = local.crawlers

  name          = local.crawler_names[each.key]
  description   = each.value.description
  database_name = aws_glue_catalog_database.this[each.key].name
  role          = aws_iam_role.crawler[each.key].arn
  schedule      = var.crawl == "daily" ? "cron(10 3 * * ? *)" : null
  configuration = jsonencode(each.value.configuration)

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
}

# The Data Catalog's databases, views and one table. The other tables are made by the crawlers, all partitions by the jobs.

resource "aws_glue_catalog_database" "this" {
  for_each = local.database_names

  name        = each.value
  description = local.crawlers[each.key].description

  # Said here, so that the account's Lake Formation defaults do not decide who can read new tables.
  create_table_default_permission {
    permissions = ["ALL"]

    principal {
      data_lake_principal_identifier = "IAM_ALLOWED_PRINCIPALS"
    }
  }
}

locals {
  # Generated from the declared tables by `make views`; a test compares the two.
  views  = { for view in jsondecode(file("${path.module}/views.json")) : view.name => view }
  tables = { for table in jsondecode(file("${path.module}/tables.json")) : table.name => table }
}

# There before its first file is, which a crawler's table is not; the crawler leaves it alone.
resource "aws_glue_catalog_table" "declared" {
  for_each = local.tables

  name          = each.key
  database_name = aws_glue_catalog_database.this["processed"].name
  description   = each.value.description
  owner         = local.prefix
  table_type    = "EXTERNAL_TABLE"

  parameters = {
    classification  = "parquet"
    compressionType = "none"
    typeOfData      = "file"
  }

  partition_keys {
    name = "batch"
    type = "string"
  }

  storage_descriptor {
    location      = "${local.zones.processed}/${each.key}/"
    input_format  = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
    output_format = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"

    ser_de_info {
      serialization_library = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
      parameters            = { "serialization.format" = "1" }
    }

    dynamic "columns" {
      for_each = each.value.columns

      content {
        name = columns.value.name
        type = columns.value.hive_type
      }
    }
  }
}

resource "aws_glue_catalog_table" "view" {
  for_each = local.views

  name               = each.key
  database_name      = aws_glue_catalog_database.this["processed"].name
  description        = each.value.description
  owner              = local.prefix
  table_type         = "VIRTUAL_VIEW"
  view_expanded_text = "/* Presto View */"
  view_original_text = "/* Presto View: ${base64encode(jsonencode({
    originalSql = each.value.sql
    catalog     = "awsdatacatalog"
    schema      = local.database_names.processed
    columns     = [for column in each.value.columns : { name = column.name, type = column.type }]
  }))} */"

  # Athena finds the view only with this very comment, and only with a serde block, whatever it says.
  parameters = {
    presto_view = "true"
    comment     = "Presto View"
  }

  storage_descriptor {
    ser_de_info {
      name                  = "-"
      serialization_library = "-"
    }

    dynamic "columns" {
      for_each = each.value.columns

      content {
        name = columns.value.name
        type = columns.value.hive_type
      }
    }
  }
}

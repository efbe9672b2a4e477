# The secrets' places. Their values are put by an operator, or, for a warehouse that is created here, written once
# by the apply (warehouse.tf): either way they are in no state file.

resource "aws_secretsmanager_secret" "this" {
  for_each = local.secret_names

  name                    = each.value
  description             = "Connection of the ${each.key}: engine, host, port, dbname, username, password, sslmode"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.protect_data ? 30 : 0
}

# The warehouse, where there is none yet: a private, encrypted PostgreSQL on RDS.

locals {
  warehouse_count = var.warehouse.create ? 1 : 0

  # 244 random bits, drawn at each apply and used by the first and by one that raises password_version:
  # write-only arguments take it to RDS and to the secret, no plan and no state ever holds it.
  warehouse_password = replace("${uuid()}${uuid()}", "-", "")
}

resource "aws_db_subnet_group" "warehouse" {
  count = local.warehouse_count

  name       = "${local.prefix}-warehouse"
  subnet_ids = local.subnet_ids
}

resource "aws_security_group" "warehouse" {
  count = local.warehouse_count

  name        = "${local.prefix}-warehouse"
  description = "Warehouse of ${local.prefix}"
  vpc_id      = local.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "warehouse" {
  count = local.warehouse_count

  security_group_id            = aws_security_group.warehouse[0].id
  description                  = "The jobs"
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_db_instance" "warehouse" {
  count = local.warehouse_count

  identifier                      = "${local.prefix}-warehouse"
  engine                          = "postgres"
  engine_version                  = var.warehouse.engine_version
  instance_class                  = var.warehouse.instance_class
  allocated_storage               = var.warehouse.storage_gb
  storage_type                    = "gp3"
  storage_encrypted               = true
  kms_key_id                      = var.kms_key_arn
  db_name                         = "warehouse"
  username                        = "totelake"
  password_wo                     = local.warehouse_password
  password_wo_version             = var.warehouse.password_version
  db_subnet_group_name            = aws_db_subnet_group.warehouse[0].name
  vpc_security_group_ids          = [aws_security_group.warehouse[0].id]
  publicly_accessible             = false
  multi_az                        = var.warehouse.multi_az
  backup_retention_period         = var.warehouse.backup_days
  auto_minor_version_upgrade      = true
  copy_tags_to_snapshot           = true
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  deletion_protection             = var.protect_data
  skip_final_snapshot             = !var.protect_data
  final_snapshot_identifier       = var.protect_data ? "${local.prefix}-warehouse-final" : null
}

resource "aws_secretsmanager_secret_version" "warehouse" {
  count = local.warehouse_count

  secret_id                = aws_secretsmanager_secret.this["warehouse"].id
  secret_string_wo_version = var.warehouse.password_version
  secret_string_wo = jsonencode({
    engine   = "postgres"
    host     = aws_db_instance.warehouse[0].address
    port     = aws_db_instance.warehouse[0].port
    dbname   = aws_db_instance.warehouse[0].db_name
    username = aws_db_instance.warehouse[0].username
    password = local.warehouse_password
    sslmode  = "require"
  })
}

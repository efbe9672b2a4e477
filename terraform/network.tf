# How the jobs that reach a database get to it: not at all in a VPC, in one of yours, or in a small one of their own.

locals {
  networked   = var.network.mode != "none"
  new_network = var.network.mode == "new"

  vpc_id              = local.new_network ? aws_vpc.this[0].id : var.network.vpc_id
  subnet_ids          = local.new_network ? aws_subnet.this[*].id : var.network.subnet_ids
  job_subnets         = local.networked ? [local.subnet_ids[0]] : [] # a job run uses one subnet
  job_security_groups = aws_security_group.jobs[*].id

  # What a job calls. Each has its price by the hour, so no more than these.
  endpoints = local.new_network ? toset(concat(["secretsmanager", "glue", "logs", "monitoring"], var.kms_key_arn == null ? [] : ["kms"])) : []
}

data "aws_availability_zones" "available" {
  count = local.new_network ? 1 : 0

  state = "available"
}

resource "aws_vpc" "this" {
  count = local.new_network ? 1 : 0

  cidr_block           = var.network.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = local.prefix }
}

# Nothing uses it; emptied, because a new VPC's lets everything in from itself and out.
resource "aws_default_security_group" "this" {
  count = local.new_network ? 1 : 0

  vpc_id = aws_vpc.this[0].id
}

resource "aws_subnet" "this" {
  count = local.new_network ? 2 : 0

  vpc_id            = aws_vpc.this[0].id
  cidr_block        = cidrsubnet(var.network.cidr, 2, count.index)
  availability_zone = data.aws_availability_zones.available[0].names[count.index]

  tags = { Name = "${local.prefix}-${count.index}" }
}

resource "aws_route_table" "this" {
  count = local.new_network ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = local.prefix }
}

resource "aws_route_table_association" "this" {
  count = local.new_network ? 2 : 0

  subnet_id      = aws_subnet.this[count.index].id
  route_table_id = aws_route_table.this[0].id
}

resource "aws_vpc_endpoint" "s3" {
  count = local.new_network ? 1 : 0

  vpc_id            = aws_vpc.this[0].id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.this[0].id]

  tags = { Name = "${local.prefix}-s3" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.endpoints

  vpc_id              = aws_vpc.this[0].id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [aws_subnet.this[0].id]
  security_group_ids  = [aws_security_group.endpoints[0].id]

  tags = { Name = "${local.prefix}-${each.key}" }
}

resource "aws_security_group" "endpoints" {
  count = local.new_network ? 1 : 0

  name        = "${local.prefix}-endpoints"
  description = "AWS services for the jobs of ${local.prefix}"
  vpc_id      = local.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count = local.new_network ? 1 : 0

  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "The jobs"
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_security_group" "jobs" {
  count = local.networked ? 1 : 0

  name        = "${local.prefix}-jobs"
  description = "Glue jobs of ${local.prefix}"
  vpc_id      = local.vpc_id
}

# The driver and the workers of a job talk to each other: Glue refuses a group without this rule.
resource "aws_vpc_security_group_ingress_rule" "jobs" {
  count = local.networked ? 1 : 0

  security_group_id            = aws_security_group.jobs[0].id
  description                  = "Driver and workers of a job"
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "tcp"
  from_port                    = 0
  to_port                      = 65535
}

resource "aws_vpc_security_group_egress_rule" "jobs_to_each_other" {
  count = local.networked ? 1 : 0

  security_group_id            = aws_security_group.jobs[0].id
  description                  = "Driver and workers of a job"
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "tcp"
  from_port                    = 0
  to_port                      = 65535
}

resource "aws_vpc_security_group_egress_rule" "jobs_to_aws" {
  count = local.networked ? 1 : 0

  security_group_id = aws_security_group.jobs[0].id
  description       = "AWS services, by endpoint or by the routes of the VPC"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "jobs_to_databases" {
  for_each = local.networked ? toset([for port in var.network.database_ports : tostring(port)]) : []

  security_group_id = aws_security_group.jobs[0].id
  description       = "Source and warehouse"
  cidr_ipv4         = var.network.database_cidr
  ip_protocol       = "tcp"
  from_port         = tonumber(each.key)
  to_port           = tonumber(each.key)
}

data "aws_subnet" "jobs" {
  count = var.network.mode == "existing" ? 1 : 0

  id = var.network.subnet_ids[0]
}

resource "aws_glue_connection" "network" {
  count = local.networked ? 1 : 0

  name            = "${local.prefix}-network"
  description     = "The subnet in which jobs reach the databases"
  connection_type = "NETWORK"

  physical_connection_requirements {
    availability_zone      = local.new_network ? aws_subnet.this[0].availability_zone : data.aws_subnet.jobs[0].availability_zone
    subnet_id              = local.job_subnets[0]
    security_group_id_list = local.job_security_groups
  }
}

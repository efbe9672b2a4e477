# One role per job and per crawler. What each may do is derived from what it reads and writes, said here once.
#
# Actions whose resource is "*", because AWS has no narrower one:
#   cloudwatch:PutMetricData        takes no resource; held to two namespaces by a condition
#   ec2:Describe*                   take no resource; only for jobs in a network

locals {
  # Zones by what a job does with them; the secret follows from its arguments (job_secrets in jobs.tf).
  # "registers": the database in which it registers the partitions it committed.
  # "merges": the zones whose closed batches it writes together, and swaps in their database.
  # "compares": the zones that it holds their databases against.
  job_access = {
    extract   = { reads = ["raw"], writes = ["raw"], registers = ["raw"], merges = [], compares = [] }
    transform = { reads = ["raw", "processed"], writes = ["processed"], registers = ["processed"], merges = [], compares = [] }
    load      = { reads = ["processed"], writes = [], registers = [], merges = [], compares = [] }
    reconcile = { reads = ["raw", "processed"], writes = [], registers = [], merges = [], compares = ["raw", "processed"] }
    compact   = { reads = ["raw", "processed"], writes = [], registers = [], merges = ["raw", "processed"], compares = [] }
  }

  zone_arns     = { for zone in keys(local.zones) : zone => aws_s3_bucket.this[zone].arn }
  glue_arn      = "arn:${local.partition}:glue:${local.arn_suffix}"
  log_group_arn = "arn:${local.partition}:logs:${local.arn_suffix}:log-group"
  ec2_arn       = "arn:${local.partition}:ec2:${local.arn_suffix}"

  job_subnet_arns = [for id in local.job_subnets : "${local.ec2_arn}:subnet/${id}"]

  catalog_arns = {
    for zone, database in local.database_names : zone => [
      "${local.glue_arn}:catalog",
      "${local.glue_arn}:database/${database}",
      "${local.glue_arn}:table/${database}/*",
    ]
  }

  # The key serves whoever may read or write what it encrypts; S3 and Secrets Manager ask in the role's name.
  use_key = var.kms_key_arn == null ? [] : [{
    Sid      = "UseKey"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = [var.kms_key_arn]
  }]

  network_statements = [
    {
      Sid      = "ReadConnection"
      Effect   = "Allow"
      Action   = ["glue:GetConnection"]
      Resource = ["${local.glue_arn}:catalog", "${local.glue_arn}:connection/${local.prefix}-network"]
    },
    {
      Sid    = "LookAtNetwork"
      Effect = "Allow"
      Action = [
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets", "ec2:DescribeVpcAttribute", "ec2:DescribeVpcEndpoints",
      ]
      Resource = ["*"]
    },
    {
      Sid    = "AttachToNetwork"
      Effect = "Allow"
      Action = ["ec2:CreateNetworkInterface"]
      Resource = concat(
        ["${local.ec2_arn}:network-interface/*"],
        [for id in local.job_security_groups : "${local.ec2_arn}:security-group/${id}"],
        local.job_subnet_arns,
      )
    },
    {
      Sid       = "DetachFromNetwork"
      Effect    = "Allow"
      Action    = ["ec2:DeleteNetworkInterface"]
      Resource  = ["${local.ec2_arn}:network-interface/*"]
      Condition = { ArnEquals = { "ec2:Subnet" = local.job_subnet_arns } }
    },
    {
      Sid       = "TagNetworkInterfaces"
      Effect    = "Allow"
      Action    = ["ec2:CreateTags", "ec2:DeleteTags"]
      Resource  = ["${local.ec2_arn}:network-interface/*"]
      Condition = { "ForAllValues:StringEquals" = { "aws:TagKeys" = ["aws-glue-service-resource"] } }
    },
  ]

  job_statements = {
    for job, access in local.job_access : job => concat(
      [
        {
          Sid      = "ReadCode"
          Effect   = "Allow"
          Action   = ["s3:GetObject"]
          Resource = ["${aws_s3_bucket.this["artifacts"].arn}/code/*"]
        },
        {
          Sid      = "ListZones"
          Effect   = "Allow"
          Action   = ["s3:ListBucket", "s3:GetBucketLocation"]
          Resource = [for zone in access.reads : local.zone_arns[zone]]
        },
        {
          Sid      = "ReadZones"
          Effect   = "Allow"
          Action   = ["s3:GetObject"]
          Resource = [for zone in access.reads : "${local.zone_arns[zone]}/*"]
        },
        {
          Sid    = "WriteLog"
          Effect = "Allow"
          Action = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = [
            "${local.log_group_arn}:/${local.prefix}/${job}/*",
            "${local.log_group_arn}:/aws-glue/jobs/*", # job insights
          ]
        },
        {
          Sid      = "PublishMetrics"
          Effect   = "Allow"
          Action   = ["cloudwatch:PutMetricData"]
          Resource = ["*"]
          # Our own metrics, and those that Glue sends in the role's name.
          Condition = { StringEquals = { "cloudwatch:namespace" = [local.metric_namespace, "Glue"] } }
        },
      ],
      [for zone in access.writes : {
        Sid      = "WriteZone"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = ["${local.zone_arns[zone]}/*"]
      }],
      # Folders of batches that were never committed, and the notes of the attempts that left them. Not manifests.
      [for zone in access.writes : {
        Sid      = "DeleteUncommitted"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject"]
        Resource = concat(["${local.zone_arns[zone]}/*/batch=*"], zone == "raw" ? ["${local.zone_arns[zone]}/_attempts/*"] : [])
      }],
      [for zone in access.registers : {
        Sid      = "RegisterPartitions"
        Effect   = "Allow"
        Action   = ["glue:GetTable", "glue:BatchCreatePartition"]
        Resource = local.catalog_arns[zone]
      }],
      # Beside the batches, which it cannot touch; what a dead run left there goes.
      [for statement in [
        {
          Sid      = "WriteMerged"
          Effect   = "Allow"
          Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
          Resource = flatten([for zone in access.merges : ["${local.zone_arns[zone]}/merged/*", "${local.zone_arns[zone]}/_merged/*"]])
        },
        {
          Sid      = "DeleteUncommitted"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject"]
          Resource = [for zone in access.merges : "${local.zone_arns[zone]}/merged/*"]
        },
        {
          Sid    = "SwapPartitions"
          Effect = "Allow"
          Action = [
            "glue:GetTable", "glue:UpdateTable", "glue:GetPartitions",
            "glue:BatchCreatePartition", "glue:BatchDeletePartition", "glue:BatchUpdatePartition",
          ]
          Resource = distinct(flatten([for zone in access.merges : local.catalog_arns[zone]]))
        },
        {
          Sid      = "ExcludeClosed"
          Effect   = "Allow"
          Action   = ["glue:GetCrawler", "glue:UpdateCrawler"]
          Resource = [for zone in access.merges : "${local.glue_arn}:crawler/${local.crawler_names[zone]}"]
        },
      ] : statement if length(access.merges) > 0],
      [for statement in [{
        Sid      = "ReadCatalogue"
        Effect   = "Allow"
        Action   = ["glue:GetTables", "glue:GetPartitions"]
        Resource = distinct(flatten([for zone in access.compares : local.catalog_arns[zone]]))
      }] : statement if length(access.compares) > 0],
      [for zone in access.registers : {
        Sid      = "StartCrawler"
        Effect   = "Allow"
        Action   = ["glue:StartCrawler"]
        Resource = ["${local.glue_arn}:crawler/${local.crawler_names[zone]}"]
      } if var.crawl != "every_run"],
      [for purpose in local.job_secrets[job] : {
        Sid      = "Read${title(purpose)}Secret"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [aws_secretsmanager_secret.this[purpose].arn]
      }],
      [for statement in local.network_statements : statement if contains(local.networked_jobs, job)],
      local.use_key,
    )
  }

  crawler_statements = {
    for zone in keys(local.zones) : zone => concat(
      [
        {
          Sid      = "ListZone"
          Effect   = "Allow"
          Action   = ["s3:ListBucket", "s3:GetBucketLocation"]
          Resource = [local.zone_arns[zone]]
        },
        {
          Sid      = "ReadZone"
          Effect   = "Allow"
          Action   = ["s3:GetObject"]
          Resource = ["${local.zone_arns[zone]}/*"]
        },
        {
          Sid    = "KeepTables"
          Effect = "Allow"
          Action = [
            "glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:CreateTable", "glue:UpdateTable",
            "glue:GetPartition", "glue:GetPartitions", "glue:BatchGetPartition",
            "glue:CreatePartition", "glue:BatchCreatePartition", "glue:UpdatePartition",
          ]
          Resource = local.catalog_arns[zone]
        },
        {
          Sid      = "WriteLog"
          Effect   = "Allow"
          Action   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = ["${local.log_group_arn}:/aws-glue/crawlers*"] # crawlers have no log group of their own choice
        },
      ],
      local.use_key,
    )
  }

  trust_glue = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "glue.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

resource "aws_iam_role" "job" {
  for_each = local.job_names

  name               = "${each.value}-job"
  description        = "Glue job ${each.value}"
  assume_role_policy = local.trust_glue
}

resource "aws_iam_role_policy" "job" {
  for_each = local.job_names

  name   = "job"
  role   = aws_iam_role.job[each.key].id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.job_statements[each.key] })
}

resource "aws_iam_role" "crawler" {
  for_each = local.crawler_names

  name               = "${each.value}-crawler"
  description        = "Glue crawler ${each.value}"
  assume_role_policy = local.trust_glue
}

resource "aws_iam_role_policy" "crawler" {
  for_each = local.crawler_names

  name   = "crawler"
  role   = aws_iam_role.crawler[each.key].id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.crawler_statements[each.key] })
}

# ---- What it is called and where it runs

variable "name" {
  description = "First part of every name in the account."
  type        = string
  default     = "totesys"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "name is 3 to 16 lower-case letters, digits and hyphens, starting with a letter; got \"${var.name}\"."
  }
}

variable "environment" {
  description = "Second part of every name: one deployment per environment."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,7}$", var.environment))
    error_message = "environment is 2 to 8 lower-case letters and digits, such as dev or prod; got \"${var.environment}\"."
  }
}

variable "region" {
  description = "AWS region of everything."
  type        = string
  default     = "eu-west-2"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is an AWS region such as eu-west-2; got \"${var.region}\"."
  }
}

variable "tags" {
  description = "More tags for everything; Project, Environment and ManagedBy are set already."
  type        = map(string)
  default     = {}
}

variable "database_names" {
  description = "Names of the Data Catalog's databases; null = <name>_<environment>_<zone>."
  type = object({
    raw       = optional(string)
    processed = optional(string)
  })
  default = {}

  validation {
    condition     = alltrue([for name in values(var.database_names) : name == null || can(regex("^[a-z0-9_]{1,128}$", name))])
    error_message = "A database name is lower-case letters, digits and underscores; got ${jsonencode(var.database_names)}."
  }
  validation {
    condition     = length(distinct([for zone, name in var.database_names : coalesce(name, local.default_database_names[zone])])) == 2
    error_message = "The raw and the processed database need different names, or their crawlers overwrite each other's tables; got ${jsonencode(var.database_names)}, where null is ${jsonencode(local.default_database_names)}."
  }
}

variable "secret_names" {
  description = "Last part of the secrets' names, after <name>-<environment>/."
  type = object({
    source    = optional(string, "source")
    warehouse = optional(string, "warehouse")
  })
  default = {}

  validation {
    condition     = alltrue([for name in values(var.secret_names) : can(regex("^[A-Za-z0-9/_+=.@-]{1,400}$", name))])
    error_message = "A secret's name is letters, digits and /_+=.@-; got ${jsonencode(var.secret_names)}."
  }
  validation {
    condition     = var.secret_names.source != var.secret_names.warehouse
    error_message = "The source and the warehouse need different secrets, or one job could read the other's password; got \"${var.secret_names.source}\" twice."
  }
}

# ---- The jobs and when they run

variable "schedule" {
  description = "When a run starts, in UTC, and whether it does. Off: runs start by hand only, and no freshness alarm."
  type = object({
    cron    = optional(string, "cron(0/20 * * * ? *)")
    enabled = optional(bool, true)
  })
  default = {}

  validation {
    condition     = can(regex(local.cron_pattern, var.schedule.cron))
    error_message = "schedule.cron is cron(minutes hours day-of-month month day-of-week year), such as cron(0/20 * * * ? *); got \"${var.schedule.cron}\"."
  }
  validation {
    condition     = length(regexall("\\?", var.schedule.cron)) == 1
    error_message = "schedule.cron needs exactly one ? as day of month or day of week; got \"${var.schedule.cron}\"."
  }
}

variable "compact" {
  description = "When closed batches are written together, in UTC, whether they are (never with schedule.enabled = false), and how many of the newest batches stay as they are. Never with crawl = \"every_run\", which would catalogue the small folders again."
  type = object({
    cron         = optional(string, "cron(40 2 ? * SUN *)")
    enabled      = optional(bool, true)
    open_batches = optional(number, 100)
  })
  default = {}

  validation {
    condition     = can(regex(local.cron_pattern, var.compact.cron)) && can(regex("^cron\\([0-9]+ [0-9]+ ", var.compact.cron)) && length(regexall("\\?", var.compact.cron)) == 1
    error_message = "compact.cron is cron(minute hour day-of-month month day-of-week year), with exactly one ? as day of month or day of week, such as cron(40 2 ? * SUN *); got \"${var.compact.cron}\"."
  }
  validation {
    condition     = var.compact.open_batches >= 1 && floor(var.compact.open_batches) == var.compact.open_batches
    error_message = "compact.open_batches is a whole number from 1: the newest batch always stays as it is; got ${var.compact.open_batches}."
  }
}

variable "raw_format" {
  description = "File format of the raw zone: parquet or csv."
  type        = string
  default     = "parquet"

  validation {
    condition     = contains(["parquet", "csv"], var.raw_format)
    error_message = "raw_format is parquet or csv; got \"${var.raw_format}\"."
  }
}

variable "sweep" {
  description = "When extract looks for deleted rows: auto, where some may be; always, in every run and every table."
  type        = string
  default     = "auto"

  validation {
    condition     = contains(["auto", "always"], var.sweep)
    error_message = "sweep is auto or always; got \"${var.sweep}\"."
  }
}

variable "max_rejected_ratio" {
  description = "The part of a table's rows in a batch that may be rejected, 0 to 1; transform stops a batch with more."
  type        = number
  default     = 0.5

  validation {
    condition     = var.max_rejected_ratio >= 0 && var.max_rejected_ratio <= 1
    error_message = "max_rejected_ratio is a number from 0 to 1; got ${var.max_rejected_ratio}."
  }
}

variable "glue_version" {
  description = "Glue runtime of the jobs: 5.1 (Spark 3.5, Python 3.11) or 6.0 (Spark 4.1, Python 3.13)."
  type        = string
  default     = "5.1"

  validation {
    condition     = contains(["5.1", "6.0"], var.glue_version)
    error_message = "glue_version is 5.1 or 6.0; got \"${var.glue_version}\"."
  }
}

variable "workers" {
  description = "Size of the jobs: by job name, or \"default\" for all that are not named. timeout_minutes null = as workflow.json says."
  type = map(object({
    type            = optional(string, "G.1X")
    count           = optional(number, 2)
    timeout_minutes = optional(number)
  }))
  default = {}

  validation {
    condition     = alltrue([for w in values(var.workers) : contains(["G.1X", "G.2X", "G.4X", "G.8X"], w.type)])
    error_message = "A worker type is G.1X, G.2X, G.4X or G.8X; got ${jsonencode({ for job, w in var.workers : job => w.type })}."
  }
  validation {
    condition     = alltrue([for w in values(var.workers) : w.count >= 2 && w.count <= 299 && floor(w.count) == w.count])
    error_message = "A Spark job has 2 to 299 workers; got ${jsonencode({ for job, w in var.workers : job => w.count })}."
  }
  validation {
    condition     = alltrue([for w in values(var.workers) : w.timeout_minutes == null || try(w.timeout_minutes >= 5 && w.timeout_minutes <= 480, false)])
    error_message = "A timeout is 5 to 480 minutes: shorter ones stop a run that has only started; got ${jsonencode({ for job, w in var.workers : job => w.timeout_minutes })}."
  }
  validation {
    condition     = length(setsubtract(keys(var.workers), concat(["default"], local.declared_jobs))) == 0
    error_message = "workers names a job of workflow.json (${join(", ", local.declared_jobs)}) or default; got ${jsonencode(keys(var.workers))}."
  }
}

variable "crawl" {
  description = <<-EOT
    When the crawlers run, always beside the load and never before it:
    - on_change: a job starts its zone's crawler when a table is new or has changed shape ($0.15 a crawl, next to nothing a month);
    - daily: that, and every night as well ($9 a month);
    - every_run: that, and within every run of the workflow ($634 a month at three runs an hour).

    Batches are queryable at once with each of them: the jobs register the partitions they commit.
  EOT
  type        = string
  default     = "on_change"

  validation {
    condition     = contains(["on_change", "daily", "every_run"], var.crawl)
    error_message = "crawl is on_change, daily or every_run; got \"${var.crawl}\"."
  }
}

variable "build_folder" {
  description = "Folder that `make package` wrote."
  type        = string
  default     = "../build"
}

# ---- Data

variable "kms_key_arn" {
  description = "Key for buckets, secrets, query results and the warehouse; null = keys that AWS manages. Its policy must let this account's IAM decide."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a key, not of an alias; got \"${coalesce(var.kms_key_arn, "null")}\"."
  }
}

variable "retention" {
  description = "Days that are kept: replaced or deleted versions of objects, results of Athena queries, logs. Committed data never expires."
  type = object({
    old_versions_days   = optional(number, 30)
    athena_results_days = optional(number, 14)
    log_days            = optional(number, 90)
  })
  default = {}

  validation {
    condition     = var.retention.old_versions_days >= 1 && var.retention.athena_results_days >= 1
    error_message = "old_versions_days and athena_results_days are 1 or more; got ${jsonencode(var.retention)}."
  }
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.retention.log_days)
    error_message = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 … days; got ${var.retention.log_days}."
  }
}

variable "protect_data" {
  description = "Refuse to destroy buckets that hold objects, a warehouse that is in use, and secrets at once. False only where everything may go."
  type        = bool
  default     = true
}

variable "athena_scan_limit_mb" {
  description = "A query that would read more is stopped."
  type        = number
  default     = 10240

  validation {
    condition     = var.athena_scan_limit_mb >= 10
    error_message = "Athena takes no scan limit under 10 MB; got ${var.athena_scan_limit_mb}."
  }
}

# ---- Network and databases

variable "network" {
  description = <<-EOT
    Where the two jobs that reach a database run:
    - none: outside any VPC, the databases are reachable over the internet, by TLS;
    - existing: in subnet_ids[0] of vpc_id, whose routes or endpoints reach S3, Glue, Secrets Manager, CloudWatch and the databases;
    - new: in a small VPC with the endpoints that a job needs ($32 a month) and no way to the internet.
  EOT
  type = object({
    mode           = optional(string, "none")
    vpc_id         = optional(string)
    subnet_ids     = optional(list(string), [])
    cidr           = optional(string, "10.42.0.0/24")
    database_cidr  = optional(string, "0.0.0.0/0")
    database_ports = optional(set(number), [5432])
  })
  default = {}

  validation {
    condition     = contains(["none", "existing", "new"], var.network.mode)
    error_message = "network.mode is none, existing or new; got \"${var.network.mode}\"."
  }
  validation {
    condition     = var.network.mode != "existing" || (var.network.vpc_id != null && length(var.network.subnet_ids) > 0)
    error_message = "network.mode \"existing\" needs vpc_id and subnet_ids; got ${jsonencode(var.network)}."
  }
  validation {
    condition     = can(cidrsubnet(var.network.cidr, 2, 3))
    error_message = "network.cidr is a range with room for four subnets, such as 10.42.0.0/24; got \"${var.network.cidr}\"."
  }
}

variable "warehouse" {
  description = <<-EOT
    A PostgreSQL warehouse on RDS, encrypted and private; create = false: the warehouse is elsewhere.
    A higher password_version sets a new password, in RDS and in the warehouse's secret.
  EOT
  type = object({
    create           = optional(bool, false)
    instance_class   = optional(string, "db.t4g.micro")
    storage_gb       = optional(number, 20)
    engine_version   = optional(string, "16")
    multi_az         = optional(bool, false)
    backup_days      = optional(number, 7)
    password_version = optional(number, 1)
  })
  default = {}

  validation {
    condition     = !var.warehouse.create || var.network.mode != "none"
    error_message = "warehouse.create needs a network: it is private, and network.mode is \"${var.network.mode}\"."
  }
  validation {
    condition     = !var.warehouse.create || var.network.mode != "existing" || length(var.network.subnet_ids) >= 2
    error_message = "warehouse.create needs two subnets in different zones; got ${jsonencode(var.network.subnet_ids)}."
  }
  validation {
    condition     = try(tonumber(split(".", var.warehouse.engine_version)[0]) >= 15, false)
    error_message = "warehouse.engine_version is 15 or later, which take encrypted connections only; got \"${var.warehouse.engine_version}\"."
  }
}

# ---- Watching

variable "alert_emails" {
  description = "Who is told; each address confirms a message from AWS first."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s.]+$", email))])
    error_message = "alert_emails are e-mail addresses; got ${jsonencode(var.alert_emails)}."
  }
}

variable "alarms" {
  description = <<-EOT
    When to tell: freshness_minutes without the warehouse being brought up to date, rejected_rows in one run, duration_minutes of one job.
    freshness_minutes is longer than the time between two runs (with a schedule that pauses, than the pause), duration_minutes shorter.
  EOT
  type = object({
    freshness_minutes = optional(number, 30)
    rejected_rows     = optional(number, 1)
    duration_minutes  = optional(number, 15)
  })
  default = {}

  validation {
    condition     = var.alarms.freshness_minutes >= 10 && var.alarms.freshness_minutes <= 1440 && floor(var.alarms.freshness_minutes) == var.alarms.freshness_minutes
    error_message = "alarms.freshness_minutes is a whole number from 10 to 1440; got ${var.alarms.freshness_minutes}."
  }
  validation {
    condition     = !var.schedule.enabled || try(var.alarms.freshness_minutes > max(local.pauses...), true)
    error_message = "alarms.freshness_minutes is longer than the time between two runs, or it always alarms; got ${var.alarms.freshness_minutes} with \"${var.schedule.cron}\"."
  }
  validation {
    condition     = !var.schedule.enabled || try(var.alarms.duration_minutes < min(local.pauses...), true)
    error_message = "alarms.duration_minutes is shorter than the time between two runs, or it tells of starts that were dropped already; got ${var.alarms.duration_minutes} with \"${var.schedule.cron}\"."
  }
  validation {
    condition     = var.alarms.rejected_rows >= 1 && var.alarms.duration_minutes >= 1
    error_message = "alarms.rejected_rows and alarms.duration_minutes are 1 or more; got ${jsonencode(var.alarms)}."
  }
}

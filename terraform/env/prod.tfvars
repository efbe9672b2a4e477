environment = "prod"
crawl       = "daily"
retention   = { log_days = 365 }
# alert_emails, network and warehouse are a site's own: put them here.

environment  = "dev"
schedule     = { enabled = false } # runs start by hand
protect_data = false
retention    = { log_days = 14 }

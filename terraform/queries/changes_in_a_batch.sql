-- Rows of one batch by table, deletions apart: put its id in place of each 20261120T101500Z
SELECT 'dim_date' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_dim_date
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'dim_staff' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_dim_staff
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'dim_location' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_dim_location
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'dim_currency' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_dim_currency
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'dim_design' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_dim_design
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'dim_counterparty' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_dim_counterparty
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'dim_transaction' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_dim_transaction
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'dim_payment_type' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_dim_payment_type
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'fact_sales_order' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_fact_sales_order
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'fact_purchase_order' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_fact_purchase_order
WHERE batch = '20261120T101500Z'
UNION ALL
SELECT 'fact_payment' AS star_table, count(*) AS rows_in_batch, count(*) FILTER (WHERE row_deleted) AS deleted
FROM versions_fact_payment
WHERE batch = '20261120T101500Z'
ORDER BY star_table

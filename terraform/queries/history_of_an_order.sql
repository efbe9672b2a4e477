-- Every version of one sales order, oldest first: put its id in place of 1
SELECT batch,
       row_deleted,
       last_updated_date,
       last_updated_time,
       sales_staff_id,
       design_id,
       units_sold,
       unit_price,
       agreed_payment_date,
       agreed_delivery_date,
       agreed_delivery_location_id
FROM versions_fact_sales_order
WHERE sales_order_id = 1
ORDER BY batch

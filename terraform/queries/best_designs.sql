-- The twenty designs of which most units were sold in the last twelve months
SELECT d.design_id,
       d.design_name,
       count(*) AS orders,
       sum(o.units_sold) AS units
FROM current_fact_sales_order o
JOIN current_dim_design d ON d.design_id = o.design_id
WHERE o.created_date >= current_date - interval '12' month
GROUP BY d.design_id, d.design_name
ORDER BY units DESC
LIMIT 20

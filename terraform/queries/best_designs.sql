-- The twenty designs of which most units were sold in the twelve months up to the newest order
SELECT d.design_id,
       d.design_name,
       count(*) AS orders,
       sum(o.units_sold) AS units
FROM (SELECT design_id, units_sold, created_date, max(created_date) OVER () AS newest
      FROM current_fact_sales_order) o
JOIN current_dim_design d ON d.design_id = o.design_id
WHERE o.created_date >= o.newest - interval '12' month
GROUP BY d.design_id, d.design_name
ORDER BY units DESC
LIMIT 20

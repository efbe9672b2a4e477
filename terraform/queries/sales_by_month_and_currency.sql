-- What was sold each month, by currency: orders, units, value
SELECT date_trunc('month', o.created_date) AS month,
       c.currency_code,
       count(*) AS orders,
       sum(o.units_sold) AS units,
       sum(o.units_sold * o.unit_price) AS value
FROM current_fact_sales_order o
JOIN current_dim_currency c ON c.currency_id = o.currency_id
GROUP BY date_trunc('month', o.created_date), c.currency_code
ORDER BY month DESC, value DESC

-- Payments that are due and not paid, the longest overdue first
SELECT p.payment_id,
       p.payment_date,
       date_diff('day', p.payment_date, current_date) AS days_overdue,
       t.payment_type_name,
       k.counterparty_legal_name,
       p.payment_amount,
       c.currency_code
FROM current_fact_payment p
JOIN current_dim_payment_type t ON t.payment_type_id = p.payment_type_id
JOIN current_dim_counterparty k ON k.counterparty_id = p.counterparty_id
JOIN current_dim_currency c ON c.currency_id = p.currency_id
WHERE NOT p.paid AND p.payment_date < current_date
ORDER BY p.payment_date, p.payment_id

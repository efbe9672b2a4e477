"""The star's current rows, asked of the source itself in plain SQL.

Written without the jobs' code, so that a mistake there is not repeated here. Dates that are text
in the source stay text: what is no date must not break the question. The names of currencies,
which no source has, come in as `:currency_codes` and `:currency_names`.
"""

SOURCE_VIEWS = {
    "dim_staff": """
        SELECT s.staff_id, s.first_name, s.last_name, d.department_name, d.location,
               s.email_address
        FROM public.staff AS s
        LEFT JOIN public.department AS d ON d.department_id = s.department_id""",
    "dim_location": """
        SELECT address_id AS location_id, address_line_1, address_line_2, district, city,
               postal_code, country, phone
        FROM public.address""",
    "dim_currency": """
        SELECT c.currency_id, c.currency_code, iso.name AS currency_name
        FROM public.currency AS c
        LEFT JOIN unnest(CAST(:currency_codes AS text[]), CAST(:currency_names AS text[]))
          AS iso (code, name) ON iso.code = c.currency_code""",
    "dim_design": """
        SELECT design_id, design_name, file_location, file_name
        FROM public.design""",
    "dim_counterparty": """
        SELECT c.counterparty_id, c.counterparty_legal_name,
               a.address_line_1 AS counterparty_legal_address_line_1,
               a.address_line_2 AS counterparty_legal_address_line_2,
               a.district AS counterparty_legal_district,
               a.city AS counterparty_legal_city,
               a.postal_code AS counterparty_legal_postal_code,
               a.country AS counterparty_legal_country,
               a.phone AS counterparty_legal_phone_number
        FROM public.counterparty AS c
        LEFT JOIN public.address AS a ON a.address_id = c.legal_address_id""",
    "dim_transaction": """
        SELECT transaction_id, transaction_type, sales_order_id, purchase_order_id
        FROM public."transaction\"""",
    "dim_payment_type": """
        SELECT payment_type_id, payment_type_name
        FROM public.payment_type""",
    "fact_sales_order": """
        SELECT sales_order_id,
               created_at::date AS created_date, created_at::time AS created_time,
               last_updated::date AS last_updated_date, last_updated::time AS last_updated_time,
               staff_id AS sales_staff_id, counterparty_id, units_sold, unit_price, currency_id,
               design_id, agreed_payment_date, agreed_delivery_date, agreed_delivery_location_id
        FROM public.sales_order""",
    "fact_purchase_order": """
        SELECT purchase_order_id,
               created_at::date AS created_date, created_at::time AS created_time,
               last_updated::date AS last_updated_date, last_updated::time AS last_updated_time,
               staff_id, counterparty_id, item_code, item_quantity, item_unit_price, currency_id,
               agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
        FROM public.purchase_order""",
    "fact_payment": """
        SELECT payment_id,
               created_at::date AS created_date, created_at::time AS created_time,
               last_updated::date AS last_updated_date, last_updated::time AS last_updated_time,
               transaction_id, counterparty_id, payment_amount, currency_id, payment_type_id, paid,
               payment_date
        FROM public.payment""",
}

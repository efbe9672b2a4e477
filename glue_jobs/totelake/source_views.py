"""The star's current rows, asked of the source itself in plain SQL.

Written without the code that makes the star, so that a mistake there is not repeated here. Dates
that are text in the source stay text: what is no date must not break the question. In each
statement ``t`` is the table whose rows become the star's, ``p`` the one joined to it.
"""

from pg8000.native import literal

from totelake.currencies import ISO_4217

_ISO_4217 = ", ".join(f"({literal(code)}, {literal(name)})" for code, name in ISO_4217.items())

SOURCE_VIEWS = {
    "dim_staff": """
        SELECT t.staff_id, t.first_name, t.last_name, p.department_name, p.location,
               t.email_address
        FROM public.staff AS t
        LEFT JOIN public.department AS p ON p.department_id = t.department_id""",
    "dim_location": """
        SELECT t.address_id AS location_id, t.address_line_1, t.address_line_2, t.district, t.city,
               t.postal_code, t.country, t.phone
        FROM public.address AS t""",
    "dim_currency": f"""
        SELECT t.currency_id, t.currency_code, iso.name AS currency_name
        FROM public.currency AS t
        LEFT JOIN (VALUES {_ISO_4217}) AS iso (code, name) ON iso.code = t.currency_code""",
    "dim_design": """
        SELECT t.design_id, t.design_name, t.file_location, t.file_name
        FROM public.design AS t""",
    "dim_counterparty": """
        SELECT t.counterparty_id, t.counterparty_legal_name,
               p.address_line_1 AS counterparty_legal_address_line_1,
               p.address_line_2 AS counterparty_legal_address_line_2,
               p.district AS counterparty_legal_district,
               p.city AS counterparty_legal_city,
               p.postal_code AS counterparty_legal_postal_code,
               p.country AS counterparty_legal_country,
               p.phone AS counterparty_legal_phone_number
        FROM public.counterparty AS t
        LEFT JOIN public.address AS p ON p.address_id = t.legal_address_id""",
    "dim_transaction": """
        SELECT t.transaction_id, t.transaction_type, t.sales_order_id, t.purchase_order_id
        FROM public."transaction" AS t""",
    "dim_payment_type": """
        SELECT t.payment_type_id, t.payment_type_name
        FROM public.payment_type AS t""",
    "fact_sales_order": """
        SELECT t.sales_order_id,
               t.created_at::date AS created_date, t.created_at::time AS created_time,
               t.last_updated::date AS last_updated_date, t.last_updated::time AS last_updated_time,
               t.staff_id AS sales_staff_id, t.counterparty_id, t.units_sold, t.unit_price,
               t.currency_id, t.design_id, t.agreed_payment_date, t.agreed_delivery_date,
               t.agreed_delivery_location_id
        FROM public.sales_order AS t""",
    "fact_purchase_order": """
        SELECT t.purchase_order_id,
               t.created_at::date AS created_date, t.created_at::time AS created_time,
               t.last_updated::date AS last_updated_date, t.last_updated::time AS last_updated_time,
               t.staff_id, t.counterparty_id, t.item_code, t.item_quantity, t.item_unit_price,
               t.currency_id, t.agreed_delivery_date, t.agreed_payment_date,
               t.agreed_delivery_location_id
        FROM public.purchase_order AS t""",
    "fact_payment": """
        SELECT t.payment_id,
               t.created_at::date AS created_date, t.created_at::time AS created_time,
               t.last_updated::date AS last_updated_date, t.last_updated::time AS last_updated_time,
               t.transaction_id, t.counterparty_id, t.payment_amount, t.currency_id,
               t.payment_type_id, t.paid, t.payment_date
        FROM public.payment AS t""",
}

# dim_date has no table in the source: it is all days of the years that the facts' dates lie in.
SOURCE_DAYS = """
    SELECT d.day AS date_id, extract(year FROM d.day)::int AS year,
           extract(month FROM d.day)::int AS month, extract(day FROM d.day)::int AS day,
           extract(isodow FROM d.day)::int AS day_of_week,
           to_char(d.day, 'FMDay') AS day_name, to_char(d.day, 'FMMonth') AS month_name,
           extract(quarter FROM d.day)::int AS quarter
    FROM (SELECT DISTINCT extract(year FROM v.moment)::text AS year
          FROM (SELECT created_at, last_updated FROM public.sales_order
                UNION ALL SELECT created_at, last_updated FROM public.purchase_order
                UNION ALL SELECT created_at, last_updated FROM public.payment) AS t
          CROSS JOIN LATERAL (VALUES (t.created_at), (t.last_updated)) AS v (moment)
          UNION
          SELECT DISTINCT left(v.day, 4)
          FROM (SELECT agreed_delivery_date, agreed_payment_date FROM public.sales_order
                UNION ALL
                SELECT agreed_delivery_date, agreed_payment_date FROM public.purchase_order
                UNION ALL SELECT payment_date, NULL FROM public.payment) AS t (one, other)
          CROSS JOIN LATERAL (VALUES (t.one), (t.other)) AS v (day)
          WHERE v.day LIKE '____-__-__') AS y
    CROSS JOIN LATERAL (
        SELECT CASE WHEN y.year ~ '^[0-9]{4}$' AND y.year > '0000' THEN y.year::int END AS number
    ) AS year
    CROSS JOIN LATERAL (
        SELECT day::date FROM generate_series(
            make_date(year.number, 1, 1)::timestamp, make_date(year.number, 12, 31),
            interval '1 day'
        ) AS day
    ) AS d"""

-- Years of business in one go, for the empty tables of schema.sql. What to make comes as settings:
-- simulator.seed, simulator.first_day, simulator.last_day, and the rows wanted of each kind.
-- Chance is a hash of seed, row and purpose: the same everywhere, in whatever order rows are made.

-- Every row is right by construction; looking up six million keys one by one would take longest.
SET LOCAL session_replication_role = replica;

-- A number from 0 to n - 1. The seed is written into the function so that it is inlined whole.
DO $do$
BEGIN
    EXECUTE format(
        $function$
        CREATE FUNCTION pg_temp.pick(id bigint, purpose text, n bigint) RETURNS integer
        LANGUAGE sql IMMUTABLE AS $$
            SELECT ((hashint8extended(id, hashtextextended(purpose, %s))
                & 9223372036854775807) %% n)::integer
        $$
        $function$,
        current_setting('simulator.seed')::bigint
    );
END
$do$;

-- A text of n digits, often with leading zeros.
CREATE FUNCTION pg_temp.digits(id bigint, purpose text, n integer) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT lpad(pg_temp.pick(id, purpose, (10 ^ n)::bigint)::text, n, '0')
$$;

CREATE FUNCTION pg_temp.character(id bigint, purpose text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT substr('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ', 1 + pg_temp.pick(id, purpose, 36), 1)
$$;

-- Seven characters, spelled out: a loop would be a call for every row.
CREATE FUNCTION pg_temp.code(id bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.character(id, 'code 1') || pg_temp.character(id, 'code 2')
        || pg_temp.character(id, 'code 3') || pg_temp.character(id, 'code 4')
        || pg_temp.character(id, 'code 5') || pg_temp.character(id, 'code 6')
        || pg_temp.character(id, 'code 7')
$$;

-- An instant of a day's 07:55 batch, which marks payments as paid.
CREATE FUNCTION pg_temp.paid_at(day date) RETURNS timestamp
LANGUAGE sql IMMUTABLE AS $$
    SELECT day + time '07:55:11'
        + pg_temp.pick(day - date '2000-01-01', 'paid at', 1000) * interval '1 millisecond'
$$;

CREATE FUNCTION pg_temp.wanted(rows text) RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT current_setting('simulator.' || rows)::bigint $$;

CREATE TEMPORARY TABLE working_day ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY day) - 1 AS number, day::date AS day
FROM generate_series(
    current_setting('simulator.first_day')::date,
    current_setting('simulator.last_day')::date,
    interval '1 day'
) AS day
WHERE extract(isodow FROM day) < 6;

-- Before the first day's business.
CREATE TEMPORARY TABLE founded ON COMMIT DROP AS
SELECT current_setting('simulator.first_day')::date + time '07:30:49.962' AS at;

-- Work lasts from 08:00:00.000 to 18:59:59.999; a position counts the milliseconds worked so far.
CREATE TEMPORARY TABLE worked ON COMMIT DROP AS
SELECT 39600000 AS a_day, count(*) * 39600000 AS in_all FROM working_day;

CREATE TEMPORARY TABLE word ON COMMIT DROP AS
SELECT
    ARRAY['Ada', 'Bruno', 'Chiara', 'Dmitri', 'Esme', 'Farouk', 'Greta', 'Hamish', 'Ines',
        'Jonas', 'Keiko', 'Liam', 'Mireille', 'Nils', 'Oona', 'Piotr'] AS first_names,
    ARRAY['Abara', 'Brandt', 'Castellano', 'Dunmore', 'Eriksen', 'Fairweather', 'Gallagher',
        'Halloran', 'Ivanov', 'Jessop', 'Kowalczyk', 'Lindqvist', 'Marchetti', 'Novak']
        AS last_names,
    ARRAY['O''Dowd', 'D''Angelo', 'O''Rourke', 'M''Benga'] AS apostrophe_names,
    ARRAY['Alder', 'Birch', 'Cobbler', 'Drover', 'Ferry', 'Granary', 'Harbour', 'Mill'] AS places,
    ARRAY['Street', 'Lane', 'Quay', 'Rise', 'Yard', 'Crescent'] AS ways,
    ARRAY['Avon', 'Borders', 'Cambridgeshire', 'Fife', 'Powys', 'Rutland'] AS districts,
    ARRAY['Port Ellis', 'New Harwick', 'Easton', 'Saint Brelow', 'Lower Penn', 'Coeur d''Orme']
        AS cities,
    ARRAY['Italy', 'Korea, Republic of', 'Cote d''Ivoire', 'Norway', 'Peru', 'Viet Nam', 'Kenya']
        AS countries,
    ARRAY['Canvas', 'Velvet', 'Copper', 'Marble', 'Linen', 'Amber', 'Cork', 'Slate'] AS looks,
    ARRAY['/usr/share', '/opt/designs', '/home/user/dir', '/var/lib', '/net', '/srv', '/lost+found']
        AS folders;

INSERT INTO "_prisma_migrations" ("id", "checksum", "migration_name", "started_at",
    "finished_at", "applied_steps_count")
SELECT md5('id' || name), md5(name) || md5('#' || name), name, at, at + interval '2 seconds', 1
FROM founded, unnest(ARRAY['20221021101010_tables', '20221025140327_keys', '20221102093005_enums'])
    AS name;

INSERT INTO "currency"
SELECT number, code, at, at
FROM founded, unnest(ARRAY['GBP', 'USD', 'EUR']) WITH ORDINALITY AS c (code, number);

INSERT INTO "payment_type"
SELECT number, name, at, at
FROM founded, unnest(enum_range(NULL::"PaymentTypeName")) WITH ORDINALITY AS t (name, number);

INSERT INTO "department"
SELECT number, name, location, manager, at, at
FROM founded, (VALUES
    (1, 'Sales', 'Manchester', 'Orla Finnegan'),
    (2, 'Purchasing', 'Manchester', 'Tomas Reyes'),
    (3, 'Production', 'Leeds', 'Wanda Kruk'),
    (4, 'Dispatch', 'Leeds', 'Idris Bell'),
    (5, 'Finance', 'Manchester', 'Petra Vogel'),
    (6, 'Facilities', 'Manchester', 'Sean O''Shea'),
    (7, 'Communications', 'Leeds', 'Mina Sato'),
    (8, 'HR', 'Leeds', 'Hugo Blanc')
) AS d (number, name, location, manager);

INSERT INTO "staff"
SELECT id, first_name, last_name, 1 + pg_temp.pick(id, 'department', 8),
    lower(first_name || '.' || last_name) || CASE WHEN id > 20 THEN id::text ELSE '' END
        || '@terrifictotes.com',
    at + interval '1.601 seconds', at + interval '1.601 seconds'
FROM founded, word, generate_series(1, pg_temp.wanted('staff')) AS id,
    LATERAL (SELECT
        first_names[1 + pg_temp.pick(id, 'first name', 16)] AS first_name,
        CASE WHEN id % 10 = 7 THEN apostrophe_names[1 + pg_temp.pick(id, 'last name', 4)]
            ELSE last_names[1 + pg_temp.pick(id, 'last name', 14)] END AS last_name
    ) AS name;

INSERT INTO "address"
SELECT id,
    CASE WHEN id % 10 = 3 THEN '0' ELSE '' END || 1 + pg_temp.pick(id, 'house', 9998) || ' '
        || places[1 + pg_temp.pick(id, 'place', 8)] || ' ' || ways[1 + pg_temp.pick(id, 'way', 6)],
    CASE WHEN id % 3 = 0 THEN places[1 + pg_temp.pick(id, 'building', 8)] || ' Court' END,
    CASE WHEN id % 2 = 0 THEN districts[1 + pg_temp.pick(id, 'district', 6)] END,
    cities[1 + pg_temp.pick(id, 'city', 6)],
    CASE WHEN id % 5 = 1 THEN '0' ELSE '9' END || pg_temp.digits(id, 'post', 4)
        || CASE WHEN id % 4 = 2 THEN '-' || pg_temp.digits(id, 'post box', 4) ELSE '' END,
    countries[1 + pg_temp.pick(id, 'country', 7)],
    CASE WHEN id % 3 = 1 THEN '0' ELSE '1' END || pg_temp.digits(id, 'area', 3) || ' '
        || pg_temp.digits(id, 'phone', 6),
    at, at
FROM founded, word, generate_series(1, pg_temp.wanted('addresses')) AS id;

INSERT INTO "counterparty"
SELECT id,
    CASE id % 4
        WHEN 0 THEN a || ', ' || b || ' and ' || c
        WHEN 1 THEN a || ' - ' || b
        WHEN 2 THEN a || ' and Sons'
        ELSE apostrophe_names[1 + pg_temp.pick(id, 'owner', 4)] || ' LLC'
    END,
    1 + pg_temp.pick(id, 'legal address', pg_temp.wanted('addresses')),
    CASE WHEN id % 10 <> 9 THEN first_names[1 + pg_temp.pick(id, 'buyer', 16)] || ' ' || b END,
    CASE WHEN id % 10 <> 8 THEN first_names[1 + pg_temp.pick(id, 'receiver', 16)] || ' ' || c
        || CASE WHEN id % 5 = 0 THEN ', PhD' ELSE '' END END,
    at + interval '1.601 seconds', at + interval '1.601 seconds'
FROM founded, word, generate_series(1, pg_temp.wanted('counterparties')) AS id,
    LATERAL (SELECT
        last_names[1 + pg_temp.pick(id, 'first partner', 14)] AS a,
        last_names[1 + pg_temp.pick(id, 'second partner', 14)] AS b,
        last_names[1 + pg_temp.pick(id, 'third partner', 14)] AS c
    ) AS partner;

-- Ten designs to begin with, the others evenly over the years.
CREATE TEMPORARY TABLE designed ON COMMIT DROP AS
SELECT least(10, pg_temp.wanted('designs')) AS at_first,
    pg_temp.wanted('designs') - least(10, pg_temp.wanted('designs')) AS later;

INSERT INTO "design"
SELECT id, created_at, look, folders[1 + pg_temp.pick(id, 'folder', 7)],
    lower(look) || '-' || to_char(created_at - pg_temp.pick(id, 'age', 500) * interval '1 day',
        'YYYYMMDD') || '-' || lower(left(pg_temp.code(-id), 4)) || '.json',
    created_at
FROM word, (
    SELECT id, at AS created_at FROM founded, designed, generate_series(1, at_first) AS id
    UNION ALL
    SELECT at_first + n, day + time '08:00' + position % a_day * interval '1 millisecond'
    FROM worked, designed, generate_series(1, later) AS n,
        LATERAL (SELECT
            (n - 1) * in_all / later + pg_temp.pick(n, 'design', in_all / later) AS position
        ) AS p, working_day
    WHERE number = position / a_day
) AS d, LATERAL (SELECT looks[1 + pg_temp.pick(id, 'look', 8)] AS look) AS l
ORDER BY id;

INSERT INTO "sales_order"
SELECT id, created_at, created_at,
    -- one of the designs that there were by then
    1 + pg_temp.pick(id, 'sold design', at_first + position * later / in_all),
    1 + pg_temp.pick(id, 'seller', pg_temp.wanted('staff')),
    1 + pg_temp.pick(id, 'customer', pg_temp.wanted('counterparties')),
    1000 + pg_temp.pick(id, 'units', 99001),
    (200 + pg_temp.pick(id, 'unit price', 201)) / 100.0,
    1 + pg_temp.pick(id, 'sale currency', 3),
    (day + (1 + pg_temp.pick(id, 'sale delivery', 14)) / 2)::text,
    (day + (1 + pg_temp.pick(id, 'sale due', 12)) / 2)::text,
    1 + pg_temp.pick(id, 'sale to', pg_temp.wanted('addresses'))
FROM worked, designed, pg_temp.wanted('sales_orders') AS n, generate_series(1, n) AS id,
    LATERAL (SELECT (id - 1) * in_all / n + pg_temp.pick(id, 'sale', in_all / n) AS position) AS p,
    working_day,
    LATERAL (SELECT
        day + time '08:00' + position % a_day * interval '1 millisecond' AS created_at
    ) AS c
WHERE number = position / a_day
ORDER BY id;

INSERT INTO "purchase_order"
SELECT id, created_at, created_at,
    1 + pg_temp.pick(id, 'buyer', pg_temp.wanted('staff')),
    1 + pg_temp.pick(id, 'supplier', pg_temp.wanted('counterparties')),
    CASE
        -- what a spreadsheet would take for numbers
        WHEN id = 3 THEN '0' || pg_temp.digits(id, 'item', 6)
        WHEN id % 1000 = 5 THEN 10 + pg_temp.pick(id, 'item', 90) || 'E'
            || pg_temp.digits(id, 'item', 4)
        ELSE pg_temp.code(id)
    END,
    1 + pg_temp.pick(id, 'quantity', 1000),
    (300 + pg_temp.pick(id, 'item price', 99701)) / 100.0,
    1 + pg_temp.pick(id, 'purchase currency', 3),
    (day + (1 + pg_temp.pick(id, 'purchase delivery', 14)) / 2)::text,
    (day + (1 + pg_temp.pick(id, 'purchase due', 12)) / 2)::text,
    1 + pg_temp.pick(id, 'purchase to', pg_temp.wanted('addresses'))
FROM worked, pg_temp.wanted('purchase_orders') AS n, generate_series(1, n) AS id,
    LATERAL (SELECT
        (id - 1) * in_all / n + pg_temp.pick(id, 'purchase', in_all / n) AS position
    ) AS p,
    working_day,
    LATERAL (SELECT
        day + time '08:00' + position % a_day * interval '1 millisecond' AS created_at
    ) AS c
WHERE number = position / a_day
ORDER BY id;

INSERT INTO "transaction"
SELECT row_number() OVER (ORDER BY created_at, type, sales_order_id, purchase_order_id) AS id,
    type, sales_order_id, purchase_order_id, created_at, created_at
FROM (
    SELECT 'SALE'::"TransactionType" AS type, sales_order_id, NULL::integer AS purchase_order_id,
        created_at
    FROM "sales_order"
    UNION ALL
    SELECT 'PURCHASE', NULL, purchase_order_id, created_at FROM "purchase_order"
) AS o
ORDER BY id;

INSERT INTO "payment"
SELECT transaction_id, created_at,
    CASE WHEN paid THEN pg_temp.paid_at(due) ELSE created_at END,
    transaction_id, counterparty_id, amount, currency_id,
    CASE transaction_type WHEN 'SALE' THEN 1 ELSE 3 END,
    paid, due::text,
    10000000 + pg_temp.pick(transaction_id, 'company account', 90000000),
    10000000 + pg_temp.pick(transaction_id, 'counterparty account', 90000000)
FROM (
    SELECT transaction_id, transaction_type, t.created_at, counterparty_id,
        units_sold * unit_price AS amount, currency_id, agreed_payment_date::date AS due
    FROM "transaction" AS t JOIN "sales_order" USING (sales_order_id)
    UNION ALL
    SELECT transaction_id, transaction_type, t.created_at, counterparty_id,
        item_quantity * item_unit_price, currency_id, agreed_payment_date::date
    FROM "transaction" AS t JOIN "purchase_order" USING (purchase_order_id)
) AS o, LATERAL (
    -- The batch runs before business, so what falls due on its first day has missed it.
    SELECT extract(isodow FROM due) < 6 AND due > created_at::date
        AND due <= current_setting('simulator.last_day')::date AS paid
) AS p
ORDER BY transaction_id;

-- The ids were given above: let the sequences go on behind them.
DO $do$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            AND relname <> '_prisma_migrations'
    LOOP
        EXECUTE format(
            'SELECT setval(pg_get_serial_sequence(%L, %L), (SELECT max(%I) FROM %I))',
            format('%I', name), name || '_id', name || '_id', name
        );
    END LOOP;
END
$do$;

SET LOCAL session_replication_role = DEFAULT;

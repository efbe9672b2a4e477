"""What rewritten queries call in DuckDB, to mean there what they mean in Athena."""

# DuckDB gives NULL for a division by zero, Athena an error.
MACROS = (
    """CREATE MACRO athena_quotient(a, b) AS
       CASE WHEN b = 0 THEN error('DIVISION_BY_ZERO: Division by zero') ELSE a // b END""",
    """CREATE MACRO athena_remainder(a, b) AS
       CASE WHEN b = 0 THEN error('DIVISION_BY_ZERO: Division by zero') ELSE a % b END""",
    # Of whole numbers, half away from zero.
    """CREATE MACRO athena_rounded_quotient(a, b) AS CAST(
       sign(a) * sign(b) * ((2 * abs(a) + abs(b)) // (2 * abs(b))) AS decimal(38, 0))""",
    """CREATE MACRO athena_decimal_quotient(a, b) AS
       CASE WHEN b = 0 THEN error('DIVISION_BY_ZERO: Division by zero')
       ELSE athena_rounded_quotient(a, b) END""",
    r"""CREATE MACRO athena_whole(a) AS CASE WHEN a IS NULL OR
        regexp_full_match(a, '[+-]?[0-9]+') THEN a
        ELSE error('INVALID_CAST_ARGUMENT: Cannot cast ''' || a || ''' to a whole number') END""",
    r"""CREATE MACRO athena_day(a) AS CASE WHEN a IS NULL OR
        regexp_full_match(a, '[0-9]{4}-[0-9]{2}-[0-9]{2}') THEN a
        ELSE error('INVALID_CAST_ARGUMENT: Value cannot be cast to date: ' || a) END""",
    r"""CREATE MACRO athena_whole_or_null(a) AS
        CASE WHEN regexp_full_match(a, '[+-]?[0-9]+') THEN a END""",
    r"""CREATE MACRO athena_day_or_null(a) AS
        CASE WHEN regexp_full_match(a, '[0-9]{4}-[0-9]{2}-[0-9]{2}') THEN a END""",
)

-- Rows that were rejected, by batch, table and rule, with one reason as an example
SELECT batch,
       star_table,
       rule,
       count(*) AS rejected,
       min(reason) AS example,
       min(source_key) AS example_key
FROM quarantine
GROUP BY batch, star_table, rule
ORDER BY batch DESC, rejected DESC

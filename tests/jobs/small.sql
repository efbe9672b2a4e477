-- A ToteSys of a few rows, with the quirks of the real one: nulls, quotes, leading zeros, codes
-- that look like numbers.
INSERT INTO department VALUES
  (1, 'Sales', 'Manchester', 'Richard Roma', '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'),
  (2, 'Purchasing', 'Manchester', NULL, '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962');
INSERT INTO staff VALUES
  (1, 'Jeremie', 'O''Keeffe', 1, 'jeremie.o''keeffe@terrifictotes.com', '2022-11-03 14:20:51.563', '2022-11-03 14:20:51.563'),
  (2, 'Deron', 'Beier', 1, 'deron.beier@terrifictotes.com', '2022-11-03 14:20:51.563', '2022-11-03 14:20:51.563'),
  (3, 'Jeanette', 'Erdman', 2, 'jeanette.erdman@terrifictotes.com', '2022-11-03 14:20:51.563', '2022-11-03 14:20:51.563');
INSERT INTO address VALUES
  (1, '0605 Haskell Trafficway', 'Axel Freeway', NULL, 'East Bobbie', '01234-5678', 'Heard Island', '0962 737477', '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'),
  (2, '179 Alexie Cliffs', NULL, NULL, 'Aliso Viejo', '99305-7380', 'San Marino', '9621 880720', '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'),
  (3, '148 Sincere Fort', NULL, 'Bedfordshire', 'Lake Charles', '08010', 'Samoa', '0730 783349', '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962');
INSERT INTO counterparty VALUES
  (1, 'Fahey and Sons', 3, 'Micheal Toy', NULL, '2022-11-03 14:20:51.563', '2022-11-03 14:20:51.563'),
  (2, 'Leannon, Predovic and Morar', 2, NULL, 'Mrs. "M" Reilly', '2022-11-03 14:20:51.563', '2022-11-03 14:20:51.563');
INSERT INTO currency VALUES
  (1, 'GBP', '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'),
  (2, 'USD', '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962');
INSERT INTO payment_type VALUES
  (1, 'SALES_RECEIPT', '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'),
  (3, 'PURCHASE_PAYMENT', '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962');
INSERT INTO design VALUES
  (8, '2022-11-03 14:20:49.962', 'Wooden', '/usr', 'wooden-20220717-npgz.json', '2022-11-03 14:20:49.962'),
  (9, '2023-01-12 18:50:09.935', 'Rubber', '/usr/lib', 'rubber-20221211-ad3k.json', '2023-01-12 18:50:09.935');
INSERT INTO sales_order VALUES
  (1, '2022-11-03 14:20:52.186', '2022-11-03 14:20:52.186', 9, 1, 1, 84754, 2.43, 1, '2022-11-10', '2022-11-03', 1),
  (2, '2022-11-03 23:59:59.999', '2022-11-03 23:59:59.999', 8, 2, 2, 42972, 3.94, 2, '2022-11-07', '2022-11-08', 2);
INSERT INTO purchase_order VALUES
  (1, '2022-11-03 14:20:52.187', '2022-11-03 14:20:52.187', 3, 2, '12E3456', 371, 361.39, 2, '2022-11-09', '2022-11-07', 3),
  (2, '2024-02-29 00:00:00.000', '2024-02-29 00:00:00.000', 3, 1, '0012345', 286, 199.04, 1, '2024-03-04', '2025-01-01', 1);
INSERT INTO transaction VALUES
  (1, 'PURCHASE', NULL, 1, '2022-11-03 14:20:52.187', '2022-11-03 14:20:52.187'),
  (2, 'SALE', 1, NULL, '2022-11-03 14:20:52.186', '2022-11-03 14:20:52.186'),
  (3, 'SALE', 2, NULL, '2022-11-03 23:59:59.999', '2022-11-03 23:59:59.999'),
  (4, 'PURCHASE', NULL, 2, '2024-02-29 00:00:00.000', '2024-02-29 00:00:00.000');
INSERT INTO payment VALUES
  (2, '2022-11-03 14:20:52.187', '2022-11-03 14:20:52.187', 1, 2, 134075.69, 2, 3, FALSE, '2022-11-07', 67305075, 31622269),
  (3, '2022-11-03 14:20:52.186', '2022-11-03 14:20:52.186', 2, 1, 205952.22, 1, 1, FALSE, '2022-11-03', 81718079, 47839086),
  (5, '2022-11-03 23:59:59.999', '2022-11-03 23:59:59.999', 3, 2, 169309.68, 2, 1, TRUE, '2022-11-08', 66213052, 91659548),
  (8, '2024-02-29 00:00:00.000', '2024-02-29 00:00:00.000', 4, 1, 56925.44, 1, 3, FALSE, '2025-01-01', 32948439, 90135525);
SELECT setval(pg_get_serial_sequence(t, t || '_id'), 100) FROM unnest(ARRAY['department', 'staff', 'address',
  'counterparty', 'currency', 'payment_type', 'design', 'sales_order', 'purchase_order', 'transaction', 'payment']) t;

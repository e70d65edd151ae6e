CREATE TABLE certificates (
  seq            INTEGER PRIMARY KEY,
  certificate_id TEXT NOT NULL UNIQUE,
  name           TEXT NOT NULL UNIQUE,
  source         TEXT NOT NULL,
  chain          TEXT NOT NULL, -- PEM
  private_key    TEXT NOT NULL, -- PEM
  create_time    TEXT NOT NULL
);

ALTER TABLE listeners ADD COLUMN certificates       TEXT    NOT NULL DEFAULT 'null'; -- JSON
ALTER TABLE listeners ADD COLUMN security_policy_id TEXT    NOT NULL DEFAULT '';
ALTER TABLE listeners ADD COLUMN http2_enabled      INTEGER NOT NULL DEFAULT 0;
ALTER TABLE listeners ADD COLUMN quic_config        TEXT    NOT NULL DEFAULT '{}'; -- JSON

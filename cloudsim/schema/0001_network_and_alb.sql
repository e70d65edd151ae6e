CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE vpcs (
  seq        INTEGER PRIMARY KEY,
  vpc_id     TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  cidr_block TEXT NOT NULL,
  status     TEXT NOT NULL
);

CREATE TABLE vswitches (
  seq        INTEGER PRIMARY KEY,
  vswitch_id TEXT NOT NULL UNIQUE,
  vpc_id     TEXT NOT NULL REFERENCES vpcs (vpc_id),
  zone_id    TEXT NOT NULL,
  name       TEXT NOT NULL,
  cidr_block TEXT NOT NULL,
  status     TEXT NOT NULL
);

-- client_tokens remember what a create made, so that the same call again makes nothing more.
CREATE TABLE client_tokens (
  token       TEXT PRIMARY KEY,
  resource_id TEXT NOT NULL,
  created     TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE load_balancers (
  seq              INTEGER PRIMARY KEY,
  load_balancer_id TEXT NOT NULL UNIQUE,
  name             TEXT NOT NULL,
  status           TEXT NOT NULL,
  address_type     TEXT NOT NULL,
  edition          TEXT NOT NULL,
  vpc_id           TEXT NOT NULL,
  dns_name         TEXT NOT NULL,
  zone_mappings    TEXT NOT NULL, -- JSON
  tags             TEXT NOT NULL, -- JSON
  create_time      TEXT NOT NULL
);

CREATE TABLE listeners (
  seq                     INTEGER PRIMARY KEY,
  listener_id             TEXT NOT NULL UNIQUE,
  load_balancer_id        TEXT NOT NULL REFERENCES load_balancers (load_balancer_id) ON DELETE CASCADE,
  port                    INTEGER NOT NULL,
  protocol                TEXT NOT NULL,
  description             TEXT NOT NULL,
  status                  TEXT NOT NULL,
  idle_timeout            INTEGER NOT NULL,
  request_timeout         INTEGER NOT NULL,
  x_forwarded_for         TEXT NOT NULL, -- JSON
  default_server_group_id TEXT NOT NULL,
  tags                    TEXT NOT NULL -- JSON
);

CREATE TABLE rules (
  seq         INTEGER PRIMARY KEY,
  rule_id     TEXT NOT NULL UNIQUE,
  listener_id TEXT NOT NULL REFERENCES listeners (listener_id) ON DELETE CASCADE,
  name        TEXT NOT NULL,
  priority    INTEGER NOT NULL,
  status      TEXT NOT NULL,
  conditions  TEXT NOT NULL, -- JSON
  actions     TEXT NOT NULL, -- JSON
  tags        TEXT NOT NULL  -- JSON
);

CREATE TABLE server_groups (
  seq             INTEGER PRIMARY KEY,
  server_group_id TEXT NOT NULL UNIQUE,
  name            TEXT NOT NULL,
  type            TEXT NOT NULL,
  protocol        TEXT NOT NULL,
  scheduler       TEXT NOT NULL,
  vpc_id          TEXT NOT NULL,
  status          TEXT NOT NULL,
  servers         TEXT NOT NULL, -- JSON
  tags            TEXT NOT NULL  -- JSON
);

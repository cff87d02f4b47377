-- A database of version 1 with something in every table, as the program left it before the second migration. The statements
-- of its tables are those of the release; nothing here is ever changed.
PRAGMA application_id = 0x464C5752;

CREATE TABLE schema_migrations (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum BLOB NOT NULL,
    applied_at_ms INTEGER NOT NULL,
    app_version TEXT NOT NULL,
    duration_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL CHECK (json_valid(value)),
    secret BLOB,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE providers (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    auth_type TEXT NOT NULL CHECK (auth_type IN ('api_key', 'subscription', 'oauth', 'cookie', 'none')),
    format TEXT,
    base_url TEXT,
    email TEXT,
    priority INTEGER NOT NULL,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    models TEXT NOT NULL CHECK (json_valid(models)),
    data TEXT NOT NULL CHECK (json_valid(data)),
    secret BLOB,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX providers_order ON providers (priority, name);

CREATE TABLE model_aliases (
    alias TEXT PRIMARY KEY COLLATE NOCASE,
    provider_id TEXT REFERENCES providers (id),
    model TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX model_aliases_provider ON model_aliases (provider_id);

CREATE TABLE combos (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    strategy TEXT NOT NULL CHECK (strategy IN ('priority', 'round_robin', 'random', 'cost_optimal')),
    sticky TEXT NOT NULL CHECK (sticky IN ('none', 'session', 'key')),
    fallback_on TEXT NOT NULL CHECK (json_valid(fallback_on)),
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    description TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE combo_models (
    combo_id TEXT NOT NULL REFERENCES combos (id) ON DELETE CASCADE,
    pos INTEGER NOT NULL,
    model TEXT NOT NULL,
    provider_id TEXT REFERENCES providers (id),
    weight INTEGER NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    PRIMARY KEY (combo_id, pos)
) STRICT, WITHOUT ROWID;
CREATE INDEX combo_models_provider ON combo_models (provider_id);

CREATE TABLE tags (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    color TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE taggings (
    tag_id TEXT NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    PRIMARY KEY (tag_id, target_kind, target_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX taggings_target ON taggings (target_kind, target_id);

CREATE TABLE pricing (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER,
    cache_write INTEGER,
    cache_write_1h INTEGER,
    reasoning INTEGER,
    audio_in INTEGER,
    image_in INTEGER,
    tiers TEXT CHECK (json_valid(tiers)),
    source TEXT NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (provider, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    hash BLOB NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    scopes TEXT NOT NULL CHECK (json_valid(scopes)),
    allowed_providers TEXT NOT NULL CHECK (json_valid(allowed_providers)),
    allowed_models TEXT NOT NULL CHECK (json_valid(allowed_models)),
    allowed_cidrs TEXT NOT NULL CHECK (json_valid(allowed_cidrs)),
    daily_cap INTEGER,
    weekly_cap INTEGER,
    monthly_cap INTEGER,
    rpm INTEGER,
    tpm INTEGER,
    concurrency INTEGER,
    expires_at_ms INTEGER,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    last_used_ms INTEGER,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE auth_sessions (
    token_hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL,
    method TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    ip TEXT,
    user_agent TEXT
) STRICT;
CREATE INDEX auth_sessions_expiry ON auth_sessions (expires_at_ms);

CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY,
    ts_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    ip TEXT,
    action TEXT NOT NULL,
    target TEXT,
    detail TEXT CHECK (json_valid(detail))
) STRICT;
CREATE INDEX audit_log_time ON audit_log (ts_ms);

CREATE TABLE dim (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (kind, value)
) STRICT;

CREATE TABLE request_log (
    id INTEGER PRIMARY KEY,
    ts_ms INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    session_id TEXT,
    key_id INTEGER,
    conn_id INTEGER,
    model_req INTEGER,
    model_up INTEGER,
    alias INTEGER,
    client INTEGER,
    client_ip TEXT,
    dialect_in INTEGER NOT NULL,
    dialect_up INTEGER,
    endpoint INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    error TEXT,
    tok_in INTEGER NOT NULL,
    tok_out INTEGER NOT NULL,
    tok_cache_read INTEGER NOT NULL,
    tok_cache_write INTEGER NOT NULL,
    tok_cache_write_1h INTEGER NOT NULL,
    tok_reasoning INTEGER NOT NULL,
    usage_est INTEGER NOT NULL,
    cost INTEGER,
    ttft_ms INTEGER,
    dur_ms INTEGER NOT NULL,
    added_us INTEGER,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL
) STRICT;
CREATE INDEX request_log_time ON request_log (ts_ms);
CREATE INDEX request_log_conn ON request_log (conn_id, ts_ms);
CREATE INDEX request_log_key ON request_log (key_id, ts_ms);
CREATE INDEX request_log_session ON request_log (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX request_log_failed ON request_log (ts_ms) WHERE outcome <> 0;

CREATE TABLE usage_bucket (
    start INTEGER NOT NULL,
    conn_id INTEGER NOT NULL,
    model INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    n INTEGER NOT NULL,
    n_err INTEGER NOT NULL,
    n_retried INTEGER NOT NULL,
    n_unpriced INTEGER NOT NULL,
    tok_in INTEGER NOT NULL,
    tok_out INTEGER NOT NULL,
    tok_cache_read INTEGER NOT NULL,
    tok_cache_write INTEGER NOT NULL,
    tok_reasoning INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    dur_sum INTEGER NOT NULL,
    ttft_sum INTEGER NOT NULL,
    ttft_n INTEGER NOT NULL,
    PRIMARY KEY (start, conn_id, model, key_id, endpoint)
) STRICT, WITHOUT ROWID;

INSERT INTO schema_migrations VALUES (1, 'first tables', x'df1c7ded723c4101742edf7191a97815c19e67ce2f6bd63afab1e8930706c912', 1760000000000, '0.1.0', 3);
INSERT INTO meta VALUES ('instance_id', '0199c000-0000-7000-8000-000000000000'), ('created_at_ms', '1760000000000');
INSERT INTO settings VALUES ('stall_timeout', '"90s"', NULL, 1760000000001);
INSERT INTO providers VALUES ('0199c000-0000-7000-8000-000000000001', 'openai', 'work', 'api_key', NULL, NULL, 'me@example.com', 20, 1,
    '["gpt-5"]', '{"stallTimeout":"10s"}', NULL, 1760000000002, 1760000000003);
INSERT INTO model_aliases VALUES ('fast', '0199c000-0000-7000-8000-000000000001', 'gpt-5', 1760000000004, 1760000000004);
INSERT INTO combos VALUES ('0199c000-0000-7000-8000-000000000002', 'best', 'priority', 'none', '["5xx"]', 1, 'both', 1760000000005, 1760000000005);
INSERT INTO combo_models VALUES ('0199c000-0000-7000-8000-000000000002', 0, 'gpt-5', '0199c000-0000-7000-8000-000000000001', 1, 1),
    ('0199c000-0000-7000-8000-000000000002', 1, 'gpt-4', NULL, 2, 0);
INSERT INTO tags VALUES ('0199c000-0000-7000-8000-000000000003', 'paid', '#aabbcc', 'generic', 1760000000006, 1760000000006);
INSERT INTO taggings VALUES ('0199c000-0000-7000-8000-000000000003', 'provider', '0199c000-0000-7000-8000-000000000001');
INSERT INTO pricing VALUES ('openai', 'gpt-5', 1250000, 10000000, 125000, NULL, NULL, NULL, NULL, NULL, NULL, 'user', 1760000000007);
INSERT INTO api_keys VALUES ('0199c000-0000-7000-8000-000000000004', 'laptop', x'abababababababababababababababababababababababababababababababab', 'flr_abab', '["inference"]', '[]', '["gpt-*"]', '[]',
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 1760000000008, 1760000000008);
INSERT INTO auth_sessions VALUES (x'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd', 'admin', 'password', 1760000000009, 9999999999999, 1760000000009, '127.0.0.1', NULL);
INSERT INTO audit_log VALUES (1, 1760000000010, 'local', '127.0.0.1', 'provider.create', 'provider/0199c000-0000-7000-8000-000000000001', NULL);
INSERT INTO dim VALUES (1, 2, 'work'), (2, 3, 'gpt-5');
PRAGMA user_version = 1;

//! A database as the Go program leaves it, taken over: keys go on to work, secrets open, history is there.
//!
//! The fixture is made here, after the documented tables of that program; only what an import reads is in it.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use flow_router::store::{self, ConfigRows, Connection, Options, Store, StoreError, backup, import};
use serde_json::json;

const KEY: [u8; 32] = [42; 32];
const TOKEN: &str = "flr_00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// As the Go program seals: nonce, ciphertext and tag in base64 without padding, bound to nothing.
fn sealed(secret: &str) -> String {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).unwrap());
    let nonce = [7; 12];
    let mut bytes = secret.as_bytes().to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes).unwrap();
    format!("enc:v1:{}", STANDARD_NO_PAD.encode([&nonce[..], &bytes].concat()))
}

fn fixture(dir: &Path) -> PathBuf {
    let database = dir.join("db/data.sqlite");
    fs::create_dir_all(database.parent().unwrap()).unwrap();
    fs::write(dir.join("secret.key"), KEY).unwrap();
    #[cfg(unix)]
    fs::set_permissions(dir.join("secret.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let conn = Connection::open(&database).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE providerConnections (id TEXT PRIMARY KEY, provider TEXT, authType TEXT, name TEXT, email TEXT,
             priority INTEGER, isActive INTEGER, data TEXT, createdAt TEXT, updatedAt TEXT);
         CREATE TABLE apiKeys (id TEXT PRIMARY KEY, name TEXT, keyHash TEXT, keyPrefix TEXT, allowedProviders TEXT,
             dailyCapUsd REAL, monthlyCapUsd REAL, isActive INTEGER, createdAt TEXT, lastUsedAt TEXT);
         CREATE TABLE combos (id TEXT PRIMARY KEY, name TEXT, models TEXT, strategy TEXT, createdAt TEXT);
         CREATE TABLE modelAlias (alias TEXT PRIMARY KEY, providerId TEXT, model TEXT, createdAt TEXT);
         CREATE TABLE tags (id TEXT PRIMARY KEY, name TEXT, color TEXT, kind TEXT, createdAt TEXT);
         CREATE TABLE pricing (provider TEXT, model TEXT, inputUsdPer1M REAL, outputUsdPer1M REAL,
             cacheReadUsdPer1M REAL, cacheWriteUsdPer1M REAL, currency TEXT, source TEXT, updatedAt TEXT,
             PRIMARY KEY (provider, model));
         CREATE TABLE usageDaily (day TEXT, provider TEXT, model TEXT, apiKeyId TEXT, requestCount INTEGER,
             promptTokens INTEGER, completionTokens INTEGER, costUsd REAL,
             PRIMARY KEY (day, provider, model, apiKeyId));
         CREATE TABLE settings (id INTEGER PRIMARY KEY, data TEXT);
         CREATE TABLE proxyPools (id TEXT PRIMARY KEY, name TEXT);
         INSERT INTO combos VALUES ('c1', 'Fast', '[\"claude-haiku-4-5\",\"gpt-4o-mini\"]', 'round_robin', '2026-01-01T00:00:00Z');
         INSERT INTO modelAlias VALUES ('best', 'p1', 'claude-opus-4-7', '2026-01-01T00:00:00Z');
         INSERT INTO modelAlias VALUES ('lost', 'gone', 'x', '2026-01-01T00:00:00Z');
         INSERT INTO tags VALUES ('t1', 'local', '#112233', 'provider', '2026-01-01T00:00:00Z');
         INSERT INTO pricing VALUES ('openai', 'mine', 2.5, 10, 1.25, 0, 'USD', 'user', '2026-01-01T00:00:00Z');
         INSERT INTO pricing VALUES ('openai', 'gpt-4o', 2.5, 10, 1.25, 0, 'USD', 'vendor-public-2026-05', '');
         INSERT INTO usageDaily VALUES ('2026-01-02', 'p1', 'claude-haiku-4-5', 'k1', 3, 1000, 200, 0.0125);
         INSERT INTO usageDaily VALUES ('2026-01-03', 'p1', 'claude-haiku-4-5', '', 1, 10, 2, 0.001);
         INSERT INTO settings VALUES (1, '{\"requireApiKey\":true,\"requireLogin\":true,\"defaultModel\":\"claude-haiku-4-5\"}');
         INSERT INTO proxyPools VALUES ('x', 'pool');",
    )
    .unwrap();
    let provider = |id: &str, vendor: &str, auth: &str, name: &str, active: i64, data: serde_json::Value| {
        let sql = "INSERT INTO providerConnections VALUES (?1, ?2, ?3, ?4, '', 10, ?5, ?6, '2026-01-01T00:00:00Z', '')";
        conn.execute(sql, (id, vendor, auth, name, active, data.to_string())).unwrap();
    };
    let anthropic = json!({
        "baseUrl": "https://api.anthropic.com/v1", "format": "anthropic", "apiKey": sealed("sk-ant-legacy"),
        "models": ["claude-*"], "headers": {"x-team": "header-legacy"}, "tags": ["tier:strong", "local"],
        "quotaResetHours": 5, "refreshToken": "refresh-legacy"
    });
    provider("p1", "anthropic", "api_key", "Claude", 1, anthropic);
    let local = json!({"baseUrl": "http://127.0.0.1:8080/v1", "format": "openai", "models": ["qwen*"]});
    provider("p2", "local-llama", "none", "Claude", 1, local);
    provider("p3", "anthropic", "subscription", "Pro/Max", 1, json!({"tokenSource": "claude_credentials"}));
    let hash: String = digest(&SHA256, TOKEN.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let sql =
        "INSERT INTO apiKeys VALUES (?1, ?2, ?3, 'flr_0011223344...', ?4, 2.5, 0, ?5, '2026-01-01T00:00:00Z', NULL)";
    conn.execute(sql, ("k1", "laptop", &hash, "*", 1)).unwrap();
    conn.execute(sql, ("k2", "Laptop", "ab".repeat(32), "openai, Claude", 0)).unwrap();
    database
}

async fn config(store: &Store) -> ConfigRows {
    let vault = store.vault().clone();
    store.read(move |conn| store::load_config(conn, &vault)).await.unwrap()
}

async fn usage(store: &Store) -> Vec<(i64, String, String, i64, i64, i64, i64)> {
    // Upkeep joins old buckets to days: only the day counts.
    let sql = "SELECT start / 86400, p.value, coalesce(k.value, ''), n, tok_in, tok_out, cost FROM usage_bucket
               JOIN dim p ON p.id = conn_id LEFT JOIN dim k ON k.id = key_id ORDER BY start";
    store
        .read(move |conn| {
            let mut select = conn.prepare(sql)?;
            let rows = select
                .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await
        .unwrap()
}

async fn expect_everything(options: &Options) {
    let store = Store::open(options).unwrap();
    let rows = config(&store).await;
    let named = |name: &str| rows.providers.iter().find(|row| row.name == name).unwrap();
    let claude = named("Claude");
    assert_eq!(claude.api_key.as_ref().unwrap().expose(), "sk-ant-legacy");
    assert_eq!(claude.headers["x-team"].expose(), "header-legacy");
    assert_eq!(claude.base_url.as_deref(), Some("https://api.anthropic.com"));
    assert_eq!((claude.format.as_deref(), &*claude.models), (Some("anthropic"), &["claude-*".to_owned()][..]));
    assert_eq!(claude.tags, ["local", "tier:strong"]);
    assert_eq!(serde_json::Value::from(claude.data.clone()), json!({"quotaResetHours": 5}));
    let local = named("Claude 2");
    assert_eq!((&*local.auth_type, local.format.as_deref(), local.is_active), ("none", Some("openai_chat"), true));
    assert!(!named("Pro-Max").is_active);

    assert_eq!(rows.keys[0].hash[..], *digest(&SHA256, TOKEN.as_bytes()).as_ref(), "the same key goes on to work");
    assert_eq!((rows.keys[0].daily_cap, rows.keys[0].monthly_cap), (Some(2_500_000_000), None));
    assert_eq!((&*rows.keys[1].name, rows.keys[1].is_active), ("Laptop 2", false));
    assert_eq!(rows.keys[1].allowed_providers, ["openai", "Claude"]);
    let models: Vec<_> = rows.combos[0].entries.iter().map(|entry| &*entry.model).collect();
    assert_eq!((&*rows.combos[0].strategy, models), ("round_robin", vec!["claude-haiku-4-5", "gpt-4o-mini"]));
    assert_eq!(rows.aliases[0].provider_id.as_ref(), Some(&claude.id));
    assert_eq!(rows.aliases[1].provider_id, None);
    let price = &rows.prices[..];
    assert_eq!(price.len(), 1, "its own card is not an override of ours");
    assert_eq!((price[0].input, price[0].output, price[0].cache_read), (2_500_000, 10_000_000, Some(1_250_000)));
    assert_eq!(price[0].cache_write, None);
    let settings: Vec<_> = rows.settings.iter().map(|row| (&*row.key, row.value.clone())).collect();
    assert_eq!(settings, [("default_model", json!("claude-haiku-4-5")), ("require_key", json!(true))]);
    let day = "2026-01-02T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second() / 86_400;
    let expected = [
        (day, "Claude".to_owned(), "laptop".to_owned(), 3, 1000, 200, 12_500_000),
        (day + 1, "Claude".to_owned(), String::new(), 1, 10, 2, 1_000_000),
    ];
    assert_eq!(usage(&store).await, expected);
    let audit = store.read(|conn| store::audit::page(conn, None, 10)).await.unwrap();
    assert_eq!(audit[0].action, "database.import");
    store.close(Duration::from_secs(10));
    assert_eq!(store::check(options), Ok(Vec::new()));
}

#[tokio::test]
async fn the_database_in_the_data_folder_is_replaced_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    let database = fixture(dir.path());
    let refused = Store::open(&options).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("import-legacy"), "{refused}");

    let before = fs::read(&database).unwrap();
    let dry = import::legacy(&options, None, true).unwrap();
    assert_eq!(fs::read(&database).unwrap(), before);
    assert!(!options.backups().exists());

    let done = import::legacy(&options, None, false).unwrap();
    assert_eq!(done, dry, "a dry run says what will be");
    assert_eq!((done.providers, done.keys, done.combos, done.aliases), (3, 2, 1, 2));
    assert_eq!((done.tags, done.prices, done.settings, done.sums), (1, 1, 2, 2));
    let notes = done.notes.join("\n");
    for expected in ["Pro-Max is switched off", "alias lost", "login is off", "proxy pools are left out (1)"] {
        assert!(notes.contains(expected), "{expected} is not in\n{notes}");
    }
    expect_everything(&options).await;
    for secret in ["sk-ant-legacy", "header-legacy", "refresh-legacy"] {
        assert!(memchr::memmem::find(&fs::read(&database).unwrap(), secret.as_bytes()).is_none(), "{secret}");
        assert!(!done.to_string().contains(secret));
    }
    // The old one is there twice: as it was, and as a backup.
    let old = Connection::open(dir.path().join("db/data.legacy.sqlite")).unwrap();
    let rows: i64 = old.query_row("SELECT count(*) FROM providerConnections", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 3);
    assert_eq!(backup::list(&options).unwrap()[0].label, "legacy");
    let twice = import::legacy(&options, None, false).unwrap_err();
    assert!(matches!(twice, StoreError::Invalid { .. }), "{twice}");
}

#[tokio::test]
async fn a_database_elsewhere_is_added_to_ours() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = fixture(old.path());
    let options = Options::new(new.path());
    let before = fs::read(&from).unwrap();
    import::legacy(&options, Some(&from), false).unwrap();
    expect_everything(&options).await;
    assert_eq!(fs::read(&from).unwrap(), before);

    // A second time: nothing is there twice, and each name is told.
    let again = import::legacy(&options, Some(&from), false).unwrap();
    assert_eq!((again.providers, again.keys, again.combos, again.aliases, again.tags), (0, 0, 0, 0, 0));
    assert_eq!(again.sums, 0);
    assert!(again.notes.iter().any(|note| note.contains("the key laptop is left out")), "{again}");
    assert_eq!(backup::list(&options).unwrap()[0].label, "pre-import");
}

#[tokio::test]
async fn without_its_key_everything_but_the_secrets_comes_over() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    fixture(dir.path());
    fs::write(dir.path().join("secret.key"), [43; 32]).unwrap();
    let done = import::legacy(&options, None, false).unwrap();
    assert!(done.notes.iter().any(|note| note.contains("credential of Claude cannot be opened")), "{done}");
    let store = Store::open(&options).unwrap();
    let rows = config(&store).await;
    let claude = rows.providers.iter().find(|row| row.name == "Claude").unwrap();
    assert!(claude.api_key.is_none() && !claude.secret_lost && claude.headers.len() == 1);
    store.close(Duration::from_secs(10));
    assert_eq!(import::legacy(&Options::new(dir.path().join("none")), None, false), Err(StoreError::NotFound));
}

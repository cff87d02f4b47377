//! The configuration changes while requests run: each request has one whole configuration, a change is whole or not at
//! all, and nothing of it is on a request's path.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use codecs::dialect::Dialect;
use flow_router::{
    gateway::{Gateway, new_key},
    live::{ChangeError, Live},
    settings::{Fault, Scopes, Source, Sources},
    store::{
        self, Options, Store, StoreError,
        combos::{AliasRow, ComboEntry, ComboRow},
        keys::{self, KeyRow},
        pricing::{self, PriceRow},
        providers::{self, ProviderRow},
    },
};
use proxy::{Client as Sender, ClientConfig, Limits, Server, Timeouts, listen};
use serde_json::json;
use support::{Answer, Client, Upstream, router::provider, speech, within};
use tempfile::TempDir;
use tokio::sync::Notify;

const CHAT: Dialect = Dialect::OpenAiChat;
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A gateway inside this process, with the way to its configuration.
struct Place {
    live: Live,
    addr: SocketAddr,
    file: PathBuf,
    _dir: TempDir,
}

impl Place {
    async fn start(config: &str) -> Self {
        Self::start_with(config, &[], Vec::new()).await.unwrap()
    }

    async fn start_with(
        config: &str,
        env: &[(&str, &str)],
        mut flags: Vec<(&'static str, String)>,
    ) -> Result<Self, Vec<Fault>> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Options::new(dir.path())).unwrap();
        let file = dir.path().join("test.toml");
        fs::write(&file, config).unwrap();
        flags.push(("data_dir", dir.path().display().to_string()));
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let sources = Sources { flags, env, named: Some(file.clone()), ..Sources::default() }.again().unwrap();
        Self::serve(Live::open(sources, store).await?, file, dir)
    }

    fn serve(live: Live, file: PathBuf, dir: TempDir) -> Result<Self, Vec<Fault>> {
        let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = Sender::new(ClientConfig::default()).unwrap();
        let gateway = Arc::new(Gateway::new(live.shared().clone(), client));
        let server = Server::new(Limits::default(), Timeouts::default());
        tokio::spawn(server.serve(listener, gateway, std::future::pending(), std::time::Duration::ZERO));
        Ok(Self { live, addr, file, _dir: dir })
    }

    /// Adds a provider that serves every model, and returns its id.
    async fn add(&self, name: &str, upstream: &Upstream) -> String {
        self.put(row(name, &upstream.url())).await.unwrap()
    }

    async fn put(&self, mut row: ProviderRow) -> Result<String, ChangeError> {
        let vault = self.live.store().vault().clone();
        let change = self.live.change("provider", row.id.clone(), move |change| {
            match row.id.is_empty() {
                true => providers::insert(change, &vault, &mut row)?,
                false => providers::update(change, &vault, &mut row, None)?,
            }
            Ok(row.id)
        });
        change.await
    }

    async fn get(&self, id: &str) -> ProviderRow {
        let (vault, id) = (self.live.store().vault().clone(), id.to_owned());
        self.live.store().read(move |connection| providers::get(connection, &vault, &id)).await.unwrap()
    }

    async fn delete(&self, id: &str) -> Result<(), ChangeError> {
        let own = id.to_owned();
        self.live.change("provider", own.clone(), move |change| providers::delete(change, &own, None)).await
    }

    async fn set(&self, key: &'static str, value: serde_json::Value) -> Result<(), ChangeError> {
        let set = self.live.change("settings", key.to_owned(), move |change| store::settings::set(change, key, &value));
        set.await
    }

    async fn ask(&self, fields: &[(&str, &str)]) -> Answer {
        Client::once(self.addr, "POST", "/v1/chat/completions", fields, speech::request(CHAT, "m", false)).await
    }

    /// Who answers the next request.
    async fn answers(&self) -> String {
        let answer = self.ask(&[]).await;
        answer.header("x-flow-router-provider").unwrap_or("nobody").to_owned()
    }

    fn effective(&self, name: &str) -> (String, Source) {
        let rows = self.live.effective();
        let row = rows.iter().find(|entry| entry.row.name == name).unwrap();
        (row.value.clone(), row.source)
    }
}

fn row(name: &str, origin: &str) -> ProviderRow {
    ProviderRow {
        provider: "custom".into(),
        name: name.into(),
        format: Some("openai_chat".into()),
        base_url: Some(format!("{origin}/v1")),
        models: vec!["*".into()],
        api_key: Some(store::Secret::new("upstream-key")),
        ..ProviderRow::default()
    }
}

fn alias_row(alias: &str, model: &str) -> AliasRow {
    AliasRow { alias: alias.into(), provider_id: None, model: model.into(), created_at_ms: 0, updated_at_ms: 0 }
}

async fn good() -> Upstream {
    Upstream::always(200, JSON, speech::reply(CHAT)).await
}

/// The faults of a change that was refused as invalid.
#[track_caller]
fn faults<T: std::fmt::Debug>(result: Result<T, ChangeError>) -> String {
    match result {
        Err(ChangeError::Invalid(faults)) => faults.iter().map(|fault| format!("{fault}\n")).collect(),
        other => panic!("not refused as invalid: {other:?}"),
    }
}

#[tokio::test]
async fn the_next_request_has_the_change() {
    let (a, b) = (good().await, good().await);
    let place = Place::start("").await;
    assert_eq!(place.answers().await, "demo");
    let id = place.add("mine", &a).await;
    assert_eq!(place.answers().await, "mine");
    assert_eq!(a.asked_once().head.get("authorization"), Some("Bearer upstream-key"));
    // Another address and another key.
    let mut changed = place.get(&id).await;
    changed.base_url = Some(format!("{}/v1", b.url()));
    changed.api_key = Some(store::Secret::new("second-key"));
    place.put(changed.clone()).await.unwrap();
    assert_eq!(place.answers().await, "mine");
    assert_eq!(b.asked_once().head.get("authorization"), Some("Bearer second-key"));
    // Out of use and back.
    changed.is_active = false;
    place.put(changed.clone()).await.unwrap();
    assert_eq!(place.answers().await, "demo");
    changed.is_active = true;
    place.put(changed).await.unwrap();
    assert_eq!(place.answers().await, "mine");
    place.delete(&id).await.unwrap();
    assert_eq!(place.answers().await, "demo");
    assert_eq!((a.asked().len(), b.asked().len()), (1, 2));
}

#[tokio::test]
async fn a_stream_ends_with_the_provider_that_it_began_with() {
    let gate = Arc::new(Notify::new());
    let held = gate.clone();
    let upstream = Upstream::start(move |mut conn| {
        let held = held.clone();
        async move {
            while conn.asked().await.is_some() {
                let spoken = speech::stream(CHAT);
                conn.stream(CHAT.stream_content_type()).await;
                conn.chunk(spoken.prologue.concat() + &spoken.content[0]).await;
                held.notified().await;
                conn.chunk(spoken.content[1..].concat() + &spoken.end.concat()).await;
                conn.end().await;
            }
        }
    })
    .await;
    let place = Place::start("").await;
    let id = place.add("mine", &upstream).await;
    let open = async || {
        let mut client = Client::connect(place.addr).await;
        let request = speech::request(CHAT, "m", true);
        client.request("POST", "/v1/chat/completions", &[], request.as_bytes()).await;
        assert_eq!(client.head().await.0, 200);
        let seen = client.until("Hello").await;
        (client, seen)
    };
    let (mut first, mut seen) = open().await;
    // Changed while it streams, then gone while both stream.
    let mut changed = place.get(&id).await;
    changed.api_key = Some(store::Secret::new("second-key"));
    place.put(changed).await.unwrap();
    let (mut second, mut seen_second) = open().await;
    place.delete(&id).await.unwrap();
    assert_eq!(place.answers().await, "demo");
    for (client, seen) in [(&mut first, &mut seen), (&mut second, &mut seen_second)] {
        gate.notify_one();
        let (rest, complete) = client.rest().await;
        seen.push_str(&String::from_utf8_lossy(&rest));
        let heard = speech::heard(CHAT, seen);
        assert!(complete && heard.ended && heard.error.is_none() && heard.text == speech::TEXT, "{seen}");
    }
    let keys: Vec<_> =
        upstream.asked().iter().map(|asked| asked.head.get("authorization").unwrap().to_owned()).collect();
    assert_eq!(keys, ["Bearer upstream-key", "Bearer second-key"]);
}

#[tokio::test]
async fn an_invalid_change_leaves_everything_as_it_was_and_names_the_fault() {
    let a = good().await;
    let place = Place::start(
        "[aliases]\nfast = [\"mine/x\"]\n[providers.mine]\ndialect = \"ollama\"\nbase_url = \"http://x\"\n",
    )
    .await;
    let before = place.live.snapshot();
    let wrong = ProviderRow { base_url: Some("ftp://x".into()), ..row("other", "http://x") };
    assert_eq!(
        faults(place.put(wrong).await),
        "providers/other.base_url: `ftp://x` is not a base URL: use http:// or https://, a host, and a path without a query\n"
    );
    let mut wrong = row("other", "http://x");
    wrong.data.insert("stallTimeout".into(), json!("soon"));
    wrong.format = Some("smoke".into());
    let said = faults(place.put(wrong).await);
    assert!(
        said.contains("providers/other.stall_timeout: `soon`") && said.contains("providers/other.dialect: `smoke`")
    );
    assert!(faults(place.put(row("a/b", "http://x")).await).contains("`a/b` cannot be a provider's name"));
    let incomplete = ProviderRow { base_url: None, ..row("other", "http://x") };
    assert!(faults(place.put(incomplete).await).contains("provider `other` needs `base_url`"));
    assert!(
        faults(place.set("max_attempts", json!(0)).await).contains("settings/max_attempts: `0` is not a whole number")
    );
    assert!(faults(place.set("max_atempts", json!(1)).await).contains("did you mean `max_attempts`?"));
    assert!(matches!(place.set("data_dir", json!("/x")).await, Err(ChangeError::Pinned { .. })));
    let alias = place.live.change("alias", "slow".into(), |change| {
        store::combos::put_alias(change, &mut alias_row("slow", "nowhere/x"), None)
    });
    assert!(faults(alias.await).starts_with("aliases/slow: alias `slow`: no provider serves `nowhere/x`"));
    assert!(faults(place.set("require_key", json!(true)).await).contains("there is no key yet"));
    // The name is the file's.
    assert!(faults(place.put(row("MINE", &a.url())).await).contains("the file has one of that name"));
    // The change itself says no.
    let refused = place.live.change("x", String::new(), |_| Err::<(), _>(StoreError::NotFound)).await;
    assert!(matches!(refused, Err(ChangeError::Store(StoreError::NotFound))));
    assert!(Arc::ptr_eq(&before, &place.live.snapshot()), "nothing was published");
    let vault = place.live.store().vault().clone();
    let kept = place.live.store().read(move |connection| store::load_config(connection, &vault)).await.unwrap();
    assert!(kept.providers.is_empty() && kept.settings.is_empty(), "nothing was kept");
}

#[tokio::test]
async fn what_others_need_cannot_be_taken_away() {
    let a = good().await;
    let place = Place::start("").await;
    let id = place.add("mine", &a).await;
    fs::write(&place.file, "[aliases]\nfast = [\"mine/x\"]\n").unwrap();
    place.live.reload().await.unwrap();
    let said = faults(place.delete(&id).await);
    assert!(said.contains("test.toml:2:1: alias `fast`: no provider serves `mine/x`"), "{said}");
    assert_eq!(place.answers().await, "mine");
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_configuration_in_force() {
    let (a, b) = (good().await, good().await);
    let place = Place::start(&provider("a", CHAT, &a)).await;
    let before = place.live.snapshot();
    for broken in ["keep_alive = \"soon\"\n", "[providers.b]\n", "not toml"] {
        fs::write(&place.file, broken).unwrap();
        let faults = place.live.reload().await.unwrap_err();
        assert!(faults[0].place.contains("test.toml:1:"), "{faults:?}");
        assert!(Arc::ptr_eq(&before, &place.live.snapshot()));
    }
    fs::remove_file(&place.file).unwrap();
    assert!(place.live.reload().await.unwrap_err()[0].message.starts_with("cannot be read"));
    assert_eq!(place.answers().await, "a");
    fs::write(&place.file, provider("b", CHAT, &b)).unwrap();
    place.live.reload().await.unwrap();
    assert_eq!(place.answers().await, "b");
}

#[tokio::test]
async fn an_unchanged_provider_stays_itself() {
    let (a, b) = (good().await, good().await);
    let place =
        Place::start(&(provider("a", CHAT, &a) + "[providers.x]\nclient_auth = true\npreset = \"openai\"\n")).await;
    assert_eq!(place.answers().await, "a");
    let before = place.live.snapshot().catalog.upstreams()[0].clone();
    place.add("b", &b).await;
    assert_eq!(place.answers().await, "a");
    assert!(Arc::ptr_eq(&before, &place.live.snapshot().catalog.upstreams()[0]));
    assert_eq!(a.connections(), 1, "its connections stay too");
}

#[tokio::test]
async fn the_strongest_source_wins_and_pins() {
    let env = [("FLOW_ROUTER_MAX_ATTEMPTS", "4")];
    let flags = vec![("default_model", "flagged".to_owned())];
    let place = Place::start_with("keep_alive = \"7s\"\nmax_attempts = 3\n", &env, flags).await.unwrap();
    for (name, value, source) in [
        ("default_model", "flagged", Source::Flag),
        ("max_attempts", "4", Source::Environment),
        ("keep_alive", "7s", Source::File),
        ("max_body", "64MiB", Source::Default),
    ] {
        assert_eq!(place.effective(name), (value.to_owned(), source));
    }
    for (name, source) in
        [("default_model", Source::Flag), ("max_attempts", Source::Environment), ("keep_alive", Source::File)]
    {
        let refused = place.set(name, json!("1")).await;
        assert!(
            matches!(refused, Err(ChangeError::Pinned { key, source: by }) if key == name && by == source),
            "{name}"
        );
    }
    place.set("max_body", json!("1MiB")).await.unwrap();
    place.set("hold_prologue", json!(2)).await.unwrap();
    place.set("allowed_hosts", json!(["a.example", "b.example"])).await.unwrap();
    assert_eq!(place.effective("max_body"), ("1MiB".to_owned(), Source::Store));
    let settings = place.live.snapshot().settings.clone();
    assert_eq!((settings.max_body, settings.hold_prologue.as_secs()), (1 << 20, 2));
    assert_eq!(settings.allowed_hosts, ["a.example", "b.example"]);
    // The file says it now, and then no more.
    fs::write(&place.file, "max_body = \"2MiB\"\n").unwrap();
    place.live.reload().await.unwrap();
    assert_eq!(place.effective("max_body"), ("2MiB".to_owned(), Source::File));
    assert_eq!(place.effective("keep_alive"), ("15s".to_owned(), Source::Default));
    // What lies beneath may be taken away, not changed.
    assert!(matches!(place.set("max_body", json!("3MiB")).await, Err(ChangeError::Pinned { .. })));
    fs::write(&place.file, "").unwrap();
    place.live.reload().await.unwrap();
    assert_eq!(place.effective("max_body"), ("1MiB".to_owned(), Source::Store));
    let removed =
        place.live.change("settings", "max_body".into(), |change| store::settings::remove(change, "max_body"));
    assert!(removed.await.unwrap());
    assert_eq!(place.effective("max_body"), ("64MiB".to_owned(), Source::Default));
    assert!(place.live.pending().is_empty());
    place.set("lanes", json!(2)).await.unwrap();
    assert_eq!(place.live.pending(), ["lanes"]);
}

#[tokio::test]
async fn where_both_have_a_name_the_file_wins() {
    let (a, b) = (good().await, good().await);
    let place = Place::start("").await;
    let id = place.add("mine", &a).await;
    fs::write(&place.file, provider("Mine", CHAT, &b)).unwrap();
    place.live.reload().await.unwrap();
    let notes: Vec<_> = place.live.notes().iter().map(ToString::to_string).collect();
    assert_eq!(notes, ["providers/mine: not in force: the file has one of that name"]);
    assert_eq!(place.answers().await, "Mine");
    assert_eq!((a.asked().len(), b.asked().len()), (0, 1));
    let snapshot = place.live.snapshot();
    assert_eq!(
        (&*snapshot.settings.providers[0].id, snapshot.settings.providers[0].source),
        ("file:Mine", Source::File)
    );
    // It can still be changed, and is back when the file's is gone.
    let mut changed = place.get(&id).await;
    changed.priority = 7;
    place.put(changed).await.unwrap();
    fs::write(&place.file, "").unwrap();
    place.live.reload().await.unwrap();
    assert!(place.live.notes().is_empty());
    assert_eq!(place.answers().await, "mine");
}

#[tokio::test]
async fn read_only_is_the_files_word() {
    let a = good().await;
    let place = Place::start("read_only = true\n").await;
    assert!(matches!(place.put(row("mine", &a.url())).await, Err(ChangeError::ReadOnly)));
    assert!(place.live.read_only());
    fs::write(&place.file, "").unwrap();
    place.live.reload().await.unwrap();
    assert!(faults(place.set("read_only", json!(true)).await).starts_with("settings/read_only: "));
    place.add("mine", &a).await;
    assert_eq!(place.answers().await, "mine");
}

#[tokio::test]
async fn keys_open_and_close_with_the_change() {
    let place = Place::start("").await;
    let (token, hash) = new_key().unwrap();
    let bearer = format!("Bearer {token}");
    let with_key = [("authorization", bearer.as_str())];
    assert_eq!(place.ask(&with_key).await.status, 401, "unknown, though none is needed");
    assert_eq!(place.ask(&[("authorization", "Bearer sk-of-a-vendor")]).await.status, 200);
    let mut key = KeyRow { name: "ci".into(), hash, prefix: token[..14].into(), ..KeyRow::default() };
    let mut new = key.clone();
    key = place
        .live
        .change("key", String::new(), move |change| keys::insert(change, &mut new).map(|()| new))
        .await
        .unwrap();
    assert_eq!(place.ask(&with_key).await.status, 200);
    assert_eq!(&*place.live.snapshot().key(&token).unwrap().unwrap().id, key.id);
    let put = async |change: fn(&mut KeyRow)| {
        let mut row = key.clone();
        change(&mut row);
        place.live.change("key", row.id.clone(), move |change| keys::update(change, &mut row, None)).await
    };
    put(|row| row.expires_at_ms = Some(1)).await.unwrap();
    let expired = place.ask(&with_key).await;
    assert!(expired.status == 401 && expired.text().contains("expired"), "{}", expired.text());
    put(|row| row.is_active = false).await.unwrap();
    let revoked = place.ask(&with_key).await;
    assert!(revoked.status == 401 && revoked.text().contains("revoked"), "{}", revoked.text());
    put(|row| row.scopes = vec!["usage:read".into()]).await.unwrap();
    assert_eq!(place.ask(&with_key).await.status, 403, "not made for asking models");
    put(|row| row.allowed_models = vec!["other-*".into()]).await.unwrap();
    let narrow = place.ask(&with_key).await;
    assert!(narrow.status == 403 && narrow.text().contains("the key ci may not use"), "{}", narrow.text());
    put(|row| row.allowed_cidrs = vec!["10.0.0.0/8".into()]).await.unwrap();
    assert_eq!(place.ask(&with_key).await.status, 403);
    assert!(faults(put(|row| row.scopes = vec!["all".into()]).await).starts_with("keys/ci: `all` is not a scope"));
    // The last key may not go while one is needed.
    put(|_| {}).await.unwrap();
    place.set("require_key", json!(true)).await.unwrap();
    assert_eq!((place.ask(&[]).await.status, place.ask(&with_key).await.status), (401, 200));
    let id = key.id.clone();
    let gone = place.live.change("key", id.clone(), move |change| keys::delete(change, &id, None)).await;
    assert!(faults(gone).contains("there is no key yet"));
    place.set("require_key", json!(false)).await.unwrap();
    let id = key.id.clone();
    place.live.change("key", id.clone(), move |change| keys::delete(change, &id, None)).await.unwrap();
    assert_eq!(place.ask(&with_key).await.status, 401);
    assert!(Scopes::INFERENCE.names().eq(["inference"]));
}

#[tokio::test]
async fn combos_lead_to_their_models_in_their_order() {
    let (a, b) = (good().await, good().await);
    let place = Place::start(&(provider("a", CHAT, &a) + &provider("b", CHAT, &b))).await;
    let entry = |model: &str, enabled| ComboEntry { model: model.into(), provider_id: None, weight: 1, enabled };
    let combo = |name: &str, strategy: &str, entries: Vec<ComboEntry>| ComboRow {
        name: name.into(),
        strategy: strategy.into(),
        entries,
        ..ComboRow::default()
    };
    let put = async |mut row: ComboRow| {
        place.live.change("combo", row.name.clone(), move |change| store::combos::insert(change, &mut row)).await
    };
    put(combo("inner", "priority", vec![entry("a/off", false), entry("b/x", true)])).await.unwrap();
    put(combo("m", "round_robin", vec![entry("a/x", true), entry("Inner", true)])).await.unwrap();
    let order = [place.answers().await, place.answers().await, place.answers().await];
    assert_eq!(order, ["a", "b", "a"]);
    // An alias of a combo is the combo by another name.
    let alias = place.live.change("alias", "other".into(), |change| {
        store::combos::put_alias(change, &mut alias_row("other", "INNER"), None)
    });
    alias.await.unwrap();
    let answer = Client::post(place.addr, "/v1/chat/completions", speech::request(CHAT, "other", false)).await;
    assert_eq!(answer.header("x-flow-router-model"), Some("x"));
    assert_eq!(answer.header("x-flow-router-provider"), Some("b"));
    assert!(faults(put(combo("c", "priority", vec![entry("c", true)])).await).contains("leads back to itself"));
    assert!(faults(put(combo("c", "priority", vec![])).await).contains("at least one model"));
}

#[tokio::test]
async fn without_a_store_requests_are_served_and_changes_say_why() {
    let a = good().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.toml");
    fs::write(&file, provider("a", CHAT, &a) + "[aliases]\nfast = [\"of-the-store/x\"]\n").unwrap();
    let flags = vec![("data_dir", dir.path().display().to_string())];
    let sources = Sources { flags, named: Some(file.clone()), ..Sources::default() }.again().unwrap();
    let database = Options::new(dir.path()).database();
    fs::create_dir_all(database.parent().unwrap()).unwrap();
    fs::write(&database, "this is no database, and long enough to be read as one").unwrap();
    let store = Store::open_or_wait(&Options::new(dir.path())).unwrap();
    let place = Place::serve(Live::open(sources, store).await.unwrap(), file, dir).unwrap();
    assert_eq!(place.answers().await, "a");
    assert!(place.live.unavailable().unwrap().contains("not a database"));
    assert!(place.live.snapshot().settings.require_login, "whether a login is asked for is not known");
    let refused = place.put(row("b", "http://x")).await;
    assert!(matches!(refused, Err(ChangeError::Store(StoreError::Degraded(_)))), "{refused:?}");
    let fast = Client::post(place.addr, "/v1/chat/completions", speech::request(CHAT, "fast", false)).await;
    assert_eq!(fast.status, 200, "an alias of what the store knows is left out: `*` serves the name");
    // The file still counts.
    fs::write(&place.file, provider("again", CHAT, &a)).unwrap();
    place.live.reload().await.unwrap();
    assert_eq!(place.answers().await, "again");
    // The database comes back, here as a new one: what it says counts from then on, without a start.
    fs::remove_file(&database).unwrap();
    within("the database", place.live.store().arrived()).await;
    place.live.rebuild("store", "arrived").await.unwrap();
    assert_eq!(place.live.unavailable(), None);
    assert!(!place.live.snapshot().settings.require_login);
    place.put(row("b", "http://x")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_writer_holds_up_no_request() {
    let a = good().await;
    let place = Place::start(&provider("a", CHAT, &a)).await;
    let (release, held) = mpsc::channel::<()>();
    let started = Arc::new(Notify::new());
    let (live, begun) = (place.live.clone(), started.clone());
    let stuck = tokio::spawn(async move {
        live.change("x", String::new(), move |change| {
            begun.notify_one();
            held.recv().map_err(|error| StoreError::Other(error.to_string()))?;
            store::settings::set(change, "max_attempts", &json!(2))
        })
        .await
    });
    within("the writer", started.notified()).await;
    for _ in 0..20 {
        assert_eq!(place.answers().await, "a");
    }
    assert_eq!(place.live.snapshot().settings.max_attempts, 6);
    release.send(()).unwrap();
    within("the change", stuck).await.unwrap().unwrap();
    assert_eq!(place.live.snapshot().settings.max_attempts, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_published_in_the_order_of_their_commits() {
    const CHANGES: i64 = 60;
    let place = Place::start("").await;
    let count = |change: &mut store::Change<'_>| {
        let before = store::settings::get(change, "max_attempts")?.and_then(|value| value.as_i64()).unwrap_or(0);
        store::settings::set(change, "max_attempts", &json!(before + 1))?;
        Ok(before + 1)
    };
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..CHANGES {
        let live = place.live.clone();
        tasks.spawn(async move {
            if n % 10 == 9 {
                live.reload().await.unwrap();
                return;
            }
            let mine = live.change("settings", "max_attempts".into(), count).await.unwrap();
            // Whoever was told that a change is made sees it, or a later one.
            assert!(live.snapshot().settings.max_attempts as i64 >= mine);
        });
    }
    while let Some(done) = within("a change", tasks.join_next()).await {
        done.unwrap();
    }
    assert_eq!(place.live.snapshot().settings.max_attempts as i64, CHANGES - CHANGES / 10);
}

#[tokio::test]
async fn what_is_wrong_with_a_price_stays_noted_while_other_things_change() {
    let place = Place::start("").await;
    let bad = |input| PriceRow {
        provider: "p".into(),
        model: "m".into(),
        input,
        source: "user".into(),
        ..PriceRow::default()
    };
    let put = |store: Store, mut row: PriceRow| async move {
        store.write(move |change| pricing::put(change, &mut row)).await
    };
    let said = |place: &Place| -> Vec<String> { place.live.notes().into_iter().map(|note| note.message).collect() };
    // As another version may have left it.
    put(place.live.store().clone(), bad(-1)).await.unwrap();
    place.live.reload().await.unwrap();
    let before = place.live.snapshot();
    let wrong = ["price of p m: input must not be negative"];
    assert_eq!(said(&place), wrong);
    place.set("usage_pad", 1.into()).await.unwrap();
    assert_eq!(said(&place), wrong);
    assert!(Arc::ptr_eq(&before.prices, &place.live.snapshot().prices), "the same card");
    put(place.live.store().clone(), bad(1)).await.unwrap();
    place.live.reload().await.unwrap();
    assert_eq!(said(&place), [""; 0]);
    assert_eq!(place.live.snapshot().prices.overrides().count(), 1);
}

//! `status`: how the router is. `restart`: the router once more.

use proxy::Method;
use serde_json::{Value, json};

use super::{cell::Cell, context::Context, failure::Failure};

/// Asks the router to end in order and to start again.
pub(crate) async fn restart(context: &Context) -> Result<(), Failure> {
    let said = context.router.send(Method::POST, "/api/restart", None).await?;
    let seconds = said["drainSeconds"].as_f64().unwrap_or_default();
    context
        .out
        .done(&format!("the router starts again when running exchanges have ended, after {seconds} s at most"), &said)
}

/// Says how the router is. What only administrators may see is left out for others: that it runs is an answer, too.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let router = &context.router;
    let health = router.get("/api/health").await?;
    if health["service"] != "flow_router" {
        return Err(Failure::Failed(format!("something answers at {}, but no Flow Router", router.base)));
    }
    let version = router.get("/api/version").await?;
    let auth = seen(router.get("/api/auth/status").await)?;
    let providers = seen(router.list("/api/providers").await.map(Value::Array))?;
    let today = seen(router.get("/api/usage/today").await)?;

    let (answering, total) = providers.as_array().map_or((Value::Null, Value::Null), |list| {
        let answering = list.iter().filter(|provider| provider["state"]["status"] == "ok").count();
        (answering.into(), list.len().into())
    });
    let document = json!({
        "url": router.base,
        "status": health["status"],
        "version": version["routerVersion"],
        "cliVersion": env!("CARGO_PKG_VERSION"),
        "startedAt": version["startedAt"],
        "uptimeSec": health["uptime"],
        "principal": auth["principal"],
        "authMode": auth["authMode"],
        "requireLogin": auth["requireLogin"],
        "providersOk": answering,
        "providers": total,
        "cooling": health["cooling"],
        "store": health["store"],
        "backlog": health["backlog"],
        "dropped": health["dropped"],
        "requestsToday": today["requestCount"],
        "costTodayUsd": today["costUsd"],
        "notes": health["notes"],
    });
    let word = health["status"].as_str().unwrap_or_default();
    let color = if word == "ok" { 32 } else { 33 };
    let mut lines = vec![
        ("url", Cell::plain(router.base.as_str())),
        ("status", Cell::plain(word).tinted(color)),
        ("version", Cell::of(&document["version"])),
        ("started", Cell::time(&document["startedAt"])),
        ("uptime", Cell::seconds(&document["uptimeSec"])),
        ("you are", Cell::of(&document["principal"])),
        ("login", Cell::of(&document["authMode"])),
    ];
    if total.is_number() {
        let shown = format!("{answering} of {total} take requests");
        lines.push(("providers", Cell::both(shown, format!("{answering}/{total}"))));
    }
    if health["store"].is_string() {
        lines.push(("store", Cell::of(&health["store"])));
        lines.push(("rows waiting", Cell::count(&health["backlog"])));
        lines.push(("rows lost", Cell::count(&health["dropped"])));
    }
    if today.is_object() {
        lines.push(("requests today", Cell::count(&today["requestCount"])));
        lines.push(("spent today", Cell::usd(&today["costUsd"])));
    }
    context.out.thing(&lines, &document)?;
    for note in health["notes"].as_array().into_iter().flatten() {
        let text = |member: &str| note[member].as_str().unwrap_or_default();
        context.out.note(&format!("note: {}: {}", text("place"), text("message")));
    }
    if providers.is_null() {
        context.out.note("more is shown to administrators: set FLOW_ROUTER_KEY to a key with the scope admin");
    }
    Ok(())
}

/// What was answered; `null` if we may not see it.
fn seen(answer: Result<Value, Failure>) -> Result<Value, Failure> {
    match answer {
        Err(Failure::Unauthorised(_)) => Ok(Value::Null),
        answer => answer,
    }
}

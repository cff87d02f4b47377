//! What the router says of itself.

use std::{
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use proxy::Method;
use serde_json::Value;

use super::{Finding, Grade};
use crate::{context::Context, failure::Failure};

/// How far clocks may be apart.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(30);
/// How long a port may take to answer.
const PORT_PATIENCE: Duration = Duration::from_secs(2);

/// All that can be learned from it.
pub(super) async fn look(context: &Context) -> Vec<Finding> {
    let router = &context.router;
    let health = match router.ask(Method::GET, "/api/health", None).await {
        Ok(answer) if answer.document["service"] == "flow_router" => answer,
        Ok(answer) if answer.status == 401 || answer.status == 403 => {
            let why = Failure::of_answer(answer.status, &answer.document);
            return vec![Finding::new(Grade::Bad, "port", format!("{} refuses us: {why}", router.base))];
        }
        Ok(answer) => {
            let detail = format!(
                "something else answers at {} (status {}): stop it, or give the router another --addr",
                router.base, answer.status
            );
            return vec![Finding::new(Grade::Bad, "port", detail)];
        }
        Err(failure) => return vec![unreachable(context, &failure)],
    };
    let mut findings = vec![Finding::new(Grade::Ok, "port", format!("{} is a Flow Router", router.base))];
    findings.push(version(health.document["version"].as_str().unwrap_or_default()));
    findings.extend(clock(context).await);
    findings.extend(store(&health.document));
    for note in health.document["notes"].as_array().into_iter().flatten() {
        let text = |member: &str| note[member].as_str().unwrap_or_default();
        findings.push(Finding::new(Grade::Warn, "configuration", format!("{}: {}", text("place"), text("message"))));
    }
    match health.document["providers"].as_u64() {
        Some(0) => findings.push(Finding::new(
            Grade::Warn,
            "providers",
            "there is none, and the demo answers: add one with `flow-cli providers add NAME`",
        )),
        Some(count) => {
            let cooling = health.document["cooling"].as_u64().unwrap_or_default();
            let grade = if cooling == 0 { Grade::Ok } else { Grade::Warn };
            findings.push(Finding::new(grade, "providers", format!("{count} in force, {cooling} cooling down")));
        }
        None => findings.push(Finding::new(
            Grade::Note,
            "rights",
            "only administrators see more: set FLOW_ROUTER_KEY to a key with the scope admin",
        )),
    }
    findings
}

/// Nobody speaks HTTP there; somebody may still hold the port.
fn unreachable(context: &Context, failure: &Failure) -> Finding {
    let (host, port) = context.router.host_and_port();
    let mut addresses = (host, port).to_socket_addrs().into_iter().flatten();
    let held = addresses.any(|address| TcpStream::connect_timeout(&address, PORT_PATIENCE).is_ok());
    let detail = match held {
        true => format!("{failure}; but somebody listens there: another program, or a router that hangs"),
        false => failure.to_string(),
    };
    Finding::new(Grade::Bad, "port", detail)
}

fn version(theirs: &str) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    if theirs == ours {
        return Finding::new(Grade::Ok, "version", format!("router and flow-cli are {ours}"));
    }
    let detail = format!("the router is {theirs} and flow-cli {ours}: install both of one release");
    Finding::new(Grade::Warn, "version", detail)
}

/// Compares clocks: logins, keys that expire and days of usage hang on them.
async fn clock(context: &Context) -> Option<Finding> {
    let document = context.router.get("/api/init").await.ok()?;
    let theirs: Timestamp = document["now"].as_str()?.parse().ok()?;
    Some(apart(Timestamp::now().duration_since(theirs)))
}

fn apart(by: SignedDuration) -> Finding {
    if by.abs() <= CLOCKS_APART {
        return Finding::new(Grade::Ok, "clock", "this machine's and the router's agree");
    }
    let detail = format!("this machine's and the router's are {} s apart: set them right", by.abs().as_secs());
    Finding::new(Grade::Warn, "clock", detail)
}

fn store(health: &Value) -> Option<Finding> {
    let state = health["store"].as_str()?;
    let (backlog, dropped) = (health["backlog"].as_u64()?, health["dropped"].as_u64()?);
    if state != "ok" {
        return Some(Finding::new(Grade::Bad, "store", state));
    }
    Some(match (backlog, dropped) {
        (_, 1..) => Finding::new(Grade::Warn, "store", format!("{dropped} rows of usage were lost: see the log")),
        (10_000.., 0) => {
            let detail = format!("{backlog} rows of usage wait to be written: the disk is slow or full");
            Finding::new(Grade::Warn, "store", detail)
        }
        (_, 0) => Finding::new(Grade::Ok, "store", "it reads and writes"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_router_says_is_graded() {
        let ours = env!("CARGO_PKG_VERSION");
        assert_eq!((version(ours).grade, version("0.0.0").grade), (Grade::Ok, Grade::Warn));
        let seconds = SignedDuration::from_secs;
        let grades = [0, 29, -29, 31, -31].map(|s| apart(seconds(s)).grade);
        assert_eq!(grades, [Grade::Ok, Grade::Ok, Grade::Ok, Grade::Warn, Grade::Warn]);
        let grade = |document: Value| store(&document).map(|finding| finding.grade);
        assert_eq!(grade(json!({"store": "ok", "backlog": 5, "dropped": 0})), Some(Grade::Ok));
        assert_eq!(grade(json!({"store": "ok", "backlog": 50_000, "dropped": 0})), Some(Grade::Warn));
        assert_eq!(grade(json!({"store": "ok", "backlog": 0, "dropped": 1})), Some(Grade::Warn));
        assert_eq!(grade(json!({"store": "disk full", "backlog": 0, "dropped": 0})), Some(Grade::Bad));
        assert_eq!(grade(json!({"service": "flow_router"})), None);
    }
}

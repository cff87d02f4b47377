//! What becomes of a connection, by the name that it asks for: the decision table. Pure but for the clock that is handed in.
//!
//! | name | tool and host | then |
//! |---|---|---|
//! | in the catalogue | on, a program of ours, trusted | decrypt |
//! | in the catalogue | off, or another user's program, or our root was refused | tunnel |
//! | any other | | refuse, or tunnel if the setting says so |
//! | none, or an address | | refuse |

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::settings::{
    Interception,
    interception::{Switch, Unknown},
    tools::{self, Tool},
};

/// The name under which we answer ourselves: the test before anything is changed asks for it. No resolver leads it
/// elsewhere (RFC 6761 §6.3).
pub const OWN_NAME: &str = "flow-router.localhost";

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is ours: the test asks whether we are here.
    Own,
    /// We answer under its name.
    Decrypt(Tool, Switch),
    /// Its bytes go to the true host as they are.
    Tunnel,
    /// Its handshake is refused.
    Refuse,
}

/// What is known of a connection besides its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Its program belongs to another user of this machine.
    pub foreign: bool,
    /// Clients have refused our certificate for this name lately.
    pub distrusted: bool,
    /// Its program knows that we are its proxy: what is nobody's cannot go elsewhere.
    pub told: bool,
}

/// The table. `name` is in lower case.
pub fn decide(settings: &Interception, name: Option<&str>, how: Circumstances) -> Decision {
    let Some(name) = name else { return Decision::Refuse };
    if name == OWN_NAME {
        return Decision::Own;
    }
    match settings.switch_of_host(name) {
        None if how.told || settings.unknown == Unknown::Tunnel => Decision::Tunnel,
        None => Decision::Refuse,
        Some((_, Switch::Off)) => Decision::Tunnel,
        Some(_) if how.foreign && !settings.all_users => Decision::Tunnel,
        Some(_) if how.distrusted => Decision::Tunnel,
        Some((tool, switch)) => Decision::Decrypt(tool, switch),
    }
}

/// Refusals of our certificate within this time count together.
const WINDOW: Duration = Duration::from_secs(60);
/// So many of them, and the host is left alone.
const REFUSALS: u32 = 2;
/// For so long.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// Which hosts' clients refuse our certificate: these hosts are tunnelled for a while, so that the program keeps working.
/// As large as the catalogue: other names are not kept.
#[derive(Debug, Default)]
pub struct Distrust(HashMap<&'static str, Refused>);

#[derive(Debug, Clone, Copy)]
struct Refused {
    first: Instant,
    count: u32,
    until: Option<Instant>,
}

impl Distrust {
    /// A client has refused our certificate for `name`. True if the host is left alone from now on.
    pub fn refused(&mut self, name: &str, now: Instant) -> bool {
        let Some(host) = tools::host(name) else { return false };
        let fresh = Refused { first: now, count: 0, until: None };
        let entry = self.0.entry(host.name).or_insert(fresh);
        let over = entry.until.map_or(now.duration_since(entry.first) > WINDOW, |until| now >= until);
        if over {
            *entry = fresh;
        }
        entry.count += 1;
        if entry.count >= REFUSALS && entry.until.is_none() {
            entry.until = Some(now + PAUSE);
            return true;
        }
        false
    }

    /// A client has accepted it.
    pub fn accepted(&mut self, name: &str) {
        if let Some(host) = tools::host(name) {
            self.0.remove(host.name);
        }
    }

    /// Whether the host is left alone now.
    pub fn is_distrusted(&self, name: &str, now: Instant) -> bool {
        self.0.get(name).and_then(|refused| refused.until).is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIRO: &str = "q.us-east-1.amazonaws.com";
    const CURSOR: &str = "api2.cursor.sh";

    #[test]
    fn the_table() {
        let mut settings = Interception::default();
        settings.tools.insert(Tool::Kiro, Switch::Intercept);
        settings.tools.insert(Tool::Copilot, Switch::Observe);
        let plain = Circumstances::default();
        let foreign = Circumstances { foreign: true, ..plain };
        let distrusted = Circumstances { distrusted: true, ..plain };
        let decrypt = Decision::Decrypt(Tool::Kiro, Switch::Intercept);
        for (name, how, expected) in [
            (Some(KIRO), plain, decrypt),
            (Some(KIRO), foreign, Decision::Tunnel),
            (Some(KIRO), distrusted, Decision::Tunnel),
            (Some("api.individual.githubcopilot.com"), plain, Decision::Decrypt(Tool::Copilot, Switch::Observe)),
            (Some("api.business.githubcopilot.com"), plain, Decision::Tunnel),
            (Some(CURSOR), plain, Decision::Tunnel),
            (Some("example.com"), plain, Decision::Refuse),
            (Some("evil.q.us-east-1.amazonaws.com"), plain, Decision::Refuse),
            (Some(OWN_NAME), foreign, Decision::Own),
            (Some("example.com"), Circumstances { told: true, ..plain }, Decision::Tunnel),
            (None, plain, Decision::Refuse),
        ] {
            assert_eq!(decide(&settings, name, how), expected, "{name:?} {how:?}");
        }
        settings.unknown = Unknown::Tunnel;
        assert_eq!(decide(&settings, Some("example.com"), plain), Decision::Tunnel);
        assert_eq!(decide(&settings, None, plain), Decision::Refuse);
        settings.all_users = true;
        assert_eq!(decide(&settings, Some(KIRO), foreign), decrypt);
    }

    #[test]
    fn two_refusals_in_a_minute_pause_a_host_for_ten() {
        let mut distrust = Distrust::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!distrust.refused(KIRO, at(0)));
        assert!(!distrust.refused(KIRO, at(61)), "a minute later it is the first one again");
        assert!(!distrust.is_distrusted(KIRO, at(61)));
        assert!(distrust.refused(KIRO, at(100)));
        assert!(!distrust.refused(KIRO, at(101)), "said once");
        assert!(distrust.is_distrusted(KIRO, at(102)) && !distrust.is_distrusted(CURSOR, at(102)));
        assert!(!distrust.is_distrusted(KIRO, at(100 + 600)));
        assert!(!distrust.refused(KIRO, at(701)), "after the pause it takes two again");
        distrust.accepted(KIRO);
        assert!(!distrust.refused(KIRO, at(702)));
        assert!(!distrust.refused("example.com", at(703)) && !distrust.refused("example.com", at(703)));
    }
}

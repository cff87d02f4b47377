//! Names to addresses past the hosts file, which may lead a name to us on purpose.
//!
//! The asking is hickory's: UDP with TCP behind it, both families at once, random ids, ports and case, times to live. Here is
//! whom to ask, which answers count, and what is known when nobody answers. A resolver on this machine may read the hosts
//! file itself and answer with our own address; such answers do not count.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
};

use crate::{Error, Kind, Retry, Side};

/// Names whose addresses are remembered beyond their time to live.
const REMEMBERED_MAX: usize = 64;
/// For how long.
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Time to live of an answer, whatever the server says of it; and of the answer that there is none.
const TTL: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
const NEGATIVE_TTL: Duration = Duration::from_secs(10);
/// One question to one server, and how often it is put.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// How long a name waits whose last addresses are known.
const IMPATIENCE: Duration = Duration::from_millis(800);
/// Servers asked.
const SERVERS_MAX: usize = 3;
/// Answers held by the library.
const CACHE_MAX: u64 = 256;
/// Payload of an answer over UDP that reaches everywhere in one piece.
const EDNS_BYTES: u16 = 1232;

/// Age above which the system is asked again whom it asks: a laptop is carried to another network.
const SERVERS_AGE: Duration = Duration::from_secs(10);

/// Asks DNS and not the hosts file. One for all clients is meant.
pub struct PastHosts {
    asking: Mutex<Asking>,
    /// Whether the servers are the system's, which may change.
    follows_system: bool,
    remembered: Mutex<HashMap<Box<str>, Remembered>>,
}

/// Whom we ask at the moment.
struct Asking {
    dns: TokioResolver,
    servers: Vec<IpAddr>,
    /// When that was last compared with the system.
    compared: Instant,
}

#[derive(Debug, Clone)]
struct Remembered {
    ips: Vec<IpAddr>,
    since: Instant,
    /// Told by [`PastHosts::remember`]: only then are private addresses believed later.
    given: Vec<IpAddr>,
}

impl std::fmt::Debug for PastHosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PastHosts").finish_non_exhaustive()
    }
}

impl PastHosts {
    /// Asks the servers that this system asks, also when those change. Where they are all on this machine and systemd's
    /// resolver is theirs, those behind it.
    ///
    /// # Errors
    /// The system's list cannot be read, or is empty.
    pub fn from_system() -> Result<Self, Error> {
        Self::asking(system_servers()?, true)
    }

    /// Asks these servers, the first three of them.
    ///
    /// # Errors
    /// There are none.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self, Error> {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        Self::asking(servers.collect(), false)
    }

    fn asking(servers: Vec<NameServerConfig>, follows_system: bool) -> Result<Self, Error> {
        let asking = Asking::build(servers)?;
        Ok(Self { asking: Mutex::new(asking), follows_system, remembered: Mutex::default() })
    }

    /// The resolver of the moment.
    fn dns(&self) -> TokioResolver {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.follows_system && asking.compared.elapsed() > SERVERS_AGE {
            asking.compared = Instant::now();
            // Reads a small file, for a lookup that waits for a network. Without a list the old one has to do.
            let now = system_servers().ok().filter(|servers| addresses(servers) != asking.servers).map(Asking::build);
            if let Some(Ok(other)) = now {
                tracing::info!("the system asks other name servers now, and so do we");
                *asking = other;
            }
        }
        asking.dns.clone()
    }
}

impl Asking {
    fn build(mut servers: Vec<NameServerConfig>) -> Result<Self, Error> {
        servers.truncate(SERVERS_MAX);
        if servers.is_empty() {
            return Err(failed(&"no name server"));
        }
        let asked = addresses(&servers);
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options: &mut ResolverOpts = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = PATIENCE;
        options.attempts = ATTEMPTS;
        options.cache_size = CACHE_MAX;
        options.positive_min_ttl = Some(TTL.0);
        options.positive_max_ttl = Some(TTL.1);
        options.negative_min_ttl = Some(NEGATIVE_TTL);
        options.negative_max_ttl = Some(NEGATIVE_TTL);
        options.edns_payload_len = EDNS_BYTES;
        options.case_randomization = true;
        let dns = builder.build().map_err(|error| failed(&error))?;
        Ok(Self { dns, servers: asked, compared: Instant::now() })
    }
}

impl PastHosts {
    /// Adds what is known of a name by other means: what the system said before the hosts file was changed, or what was
    /// kept from an earlier run. Private addresses are believed later only if they are among these.
    pub fn remember(&self, name: &str, ips: &[IpAddr]) {
        self.keep(name, ips, true);
    }

    /// Names with their last good addresses, for an earlier run to become.
    pub fn remembered(&self) -> Vec<(String, Vec<IpAddr>)> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = remembered.iter().map(|(name, known)| (name.to_string(), known.ips.clone())).collect();
        all.sort();
        all
    }

    fn keep(&self, name: &str, ips: &[IpAddr], given: bool) {
        let name = name.to_ascii_lowercase();
        let ips: Vec<_> = ips.iter().copied().filter(|ip| !is_nowhere(*ip)).collect();
        if ips.is_empty() {
            return;
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX && !remembered.contains_key(&*name) {
            let oldest = remembered.iter().min_by_key(|(_, known)| known.since).map(|(name, _)| name.clone());
            oldest.and_then(|name| remembered.remove(&name));
        }
        let since = Instant::now();
        let known = remembered.entry(name.into()).or_insert(Remembered { ips: Vec::new(), since, given: Vec::new() });
        known.since = since;
        if given {
            known.given.clone_from(&ips);
        }
        known.ips = ips;
    }

    /// Its addresses, as DNS or else memory knows them; never empty.
    pub(crate) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        let known = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        let known = known.filter(|known| known.since.elapsed() < STALE_MAX);
        // With a dot at the end: no search list, no second question.
        let dns = self.dns();
        let asked = dns.lookup_ip(format!("{}.", host.trim_end_matches('.')));
        // Who knows something does not wait for servers that do not answer until they have had all their tries.
        let asked = match &known {
            Some(_) => tokio::time::timeout(IMPATIENCE, asked).await.ok().and_then(Result::ok),
            None => asked.await.ok(),
        };
        let given = known.as_ref().map(|known| &known.given[..]).unwrap_or_default();
        let credible = |ip: &IpAddr| !is_nowhere(*ip) && (!is_private(*ip) || given.contains(ip));
        let found: Vec<IpAddr> = asked.map(|answer| answer.iter().filter(credible).collect()).unwrap_or_default();
        if !found.is_empty() {
            self.keep(host, &found, false);
            return Ok(found);
        }
        known.map(|known| known.ips).ok_or_else(|| Error::upstream(Kind::Resolve(host.to_owned()), Retry::Safe))
    }
}

fn addresses(servers: &[NameServerConfig]) -> Vec<IpAddr> {
    servers.iter().map(|server| server.ip).collect()
}

/// The servers that this system asks, the first of them.
fn system_servers() -> Result<Vec<NameServerConfig>, Error> {
    let (config, _) = hickory_resolver::system_conf::read_system_conf().map_err(|error| failed(&error))?;
    let local = config.name_servers().iter().all(|server| server.ip.is_loopback());
    let behind = local.then(behind_the_stub).flatten();
    let mut servers = behind.unwrap_or_else(|| config.name_servers().to_vec());
    servers.truncate(SERVERS_MAX);
    Ok(servers)
}

/// The servers behind systemd's resolver on this machine, if it has written them down.
fn behind_the_stub() -> Option<Vec<NameServerConfig>> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read("/run/systemd/resolve/resolv.conf").ok()?;
        let (config, _) = hickory_resolver::system_conf::parse_resolv_conf(text).ok()?;
        Some(config.name_servers().to_vec()).filter(|servers| !servers.is_empty())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Addresses that no server elsewhere has.
fn is_nowhere(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_link_local() || ip.is_broadcast() || ip.is_multicast()
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast(),
    }
}

/// Addresses that only a network of its own has.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || (ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1])),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

fn failed(why: &dyn std::fmt::Display) -> Error {
    Error { side: Side::Internal, kind: Kind::Resolve(format!("names: {why}")), retry: Retry::Never }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{net::UdpSocket, task::JoinHandle};

    use super::*;

    /// A name server that knows four names; any other does not exist.
    async fn server() -> (SocketAddr, Arc<AtomicUsize>, JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut packet = [0; 1500];
            loop {
                let (length, client) = socket.recv_from(&mut packet).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                socket.send_to(&answer(&packet[..length]), client).await.unwrap();
            }
        });
        (address, asked, task)
    }

    /// RFC 1035 §4.1, without compression and additional records.
    fn answer(question: &[u8]) -> Vec<u8> {
        let mut end = 12;
        let mut labels = Vec::new();
        while question[end] != 0 {
            let length = usize::from(question[end]);
            labels.push(String::from_utf8_lossy(&question[end + 1..=end + length]).to_lowercase());
            end += length + 1;
        }
        let asked = &question[12..end + 5];
        let ip = match labels.join(".").as_str() {
            "public.test" => Some([192, 0, 2, 7]),
            "led-to-us.test" => Some([127, 0, 0, 1]),
            "intranet.test" => Some([10, 1, 2, 3]),
            "metadata.test" => Some([169, 254, 169, 254]),
            _ => None,
        };
        let is_a = question[end + 1..end + 3] == [0, 1];
        let answers = u8::from(is_a && ip.is_some());
        let code = if ip.is_some() { 0 } else { 3 };
        let mut packet = [&question[..2], &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0], asked].concat();
        if answers == 1 {
            packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            packet.extend_from_slice(&ip.unwrap());
        }
        packet
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn answers_that_lead_to_us_do_not_count() {
        let (address, asked, task) = server().await;
        let names = PastHosts::with_servers(&[address]).unwrap();
        assert_eq!(names.lookup("public.test").await.unwrap(), ips(&["192.0.2.7"]));
        let before = asked.load(Ordering::SeqCst);
        assert_eq!(names.lookup("public.test").await.unwrap(), ips(&["192.0.2.7"]));
        assert_eq!(asked.load(Ordering::SeqCst), before, "it was remembered");
        for name in ["led-to-us.test", "intranet.test", "metadata.test", "unknown.test"] {
            let error = names.lookup(name).await.unwrap_err();
            assert_eq!((error.kind, error.retry), (Kind::Resolve(name.to_owned()), Retry::Safe));
        }
        assert_eq!(names.remembered(), [("public.test".to_owned(), ips(&["192.0.2.7"]))]);
        task.abort();
    }

    #[tokio::test]
    async fn what_was_known_before_is_used_and_believed() {
        let (address, _, task) = server().await;
        let names = PastHosts::with_servers(&[address]).unwrap();
        names.remember("LED-to-us.test", &ips(&["127.0.0.1", "192.0.2.9", "0.0.0.0"]));
        assert_eq!(names.lookup("led-to-us.test").await.unwrap(), ips(&["192.0.2.9"]));
        // A company's own address for a name: the system had said so.
        names.remember("intranet.test", &ips(&["10.1.2.3"]));
        assert_eq!(names.lookup("intranet.test").await.unwrap(), ips(&["10.1.2.3"]));
        assert_eq!(names.remembered().len(), 2);
        task.abort();
        // Nobody answers any more.
        let (silent, _, task) = server().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let names = PastHosts::with_servers(&[silent]).unwrap();
        names.remember("known.test", &ips(&["192.0.2.10"]));
        assert_eq!(names.lookup("known.test").await.unwrap(), ips(&["192.0.2.10"]));
    }

    #[tokio::test]
    async fn the_hosts_file_is_not_read() {
        // Any name that stands there and is no special one.
        let text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let name = lines.flat_map(|line| line.split_whitespace().skip(1)).find(|name| !name.contains("localhost"));
        let Some(name) = name else { return };
        let (address, asked, task) = server().await;
        let names = PastHosts::with_servers(&[address]).unwrap();
        assert!(names.lookup(name).await.is_err(), "{name}");
        assert!(asked.load(Ordering::SeqCst) > 0);
        task.abort();
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let names = PastHosts::with_servers(&["192.0.2.1:53".parse().unwrap()]).unwrap();
        for n in 0..REMEMBERED_MAX * 2 {
            names.remember(&format!("n{n}.test"), &ips(&["192.0.2.1"]));
        }
        assert_eq!(names.remembered().len(), REMEMBERED_MAX);
        assert!(PastHosts::with_servers(&[]).is_err());
    }
}

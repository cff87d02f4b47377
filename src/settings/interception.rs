//! Settings of interception: which tools, how their traffic gets here, and what becomes of it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::{
    tools::{self, HOSTS, Tool},
    value,
};

/// What becomes of a tool's traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Switch {
    /// Its chats go to the models of the alias table; the rest goes on untouched.
    Intercept,
    /// It is decrypted and goes on untouched, all of it.
    Observe,
    /// It is not touched at all.
    #[default]
    Off,
}

impl Switch {
    /// The word in settings and commands.
    pub fn name(self) -> &'static str {
        match self {
            Switch::Intercept => "intercept",
            Switch::Observe => "observe",
            Switch::Off => "off",
        }
    }
}

/// How traffic gets here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mode {
    /// The hosts file sends the names of the vendors to this machine.
    #[default]
    Hosts,
    /// Programs are told that we are their proxy (HTTP CONNECT, SOCKS5).
    Proxy,
    /// Programs are told that we are their service: plain HTTP, which goes on to this host.
    Reverse(String),
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mode::Hosts => f.write_str("hosts"),
            Mode::Proxy => f.write_str("proxy"),
            Mode::Reverse(host) => write!(f, "reverse:{host}"),
        }
    }
}

/// What becomes of names that are nobody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unknown {
    /// The handshake is refused.
    #[default]
    Refuse,
    /// Its bytes are carried to the true host.
    Tunnel,
}

/// What becomes of a chat that no candidate answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It goes to the vendor as if nobody had been here.
    #[default]
    Vendor,
    /// The tool is told, in its own words.
    Error,
}

/// Where the chats of a model of a tool go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAlias {
    /// Of which tool.
    pub tool: Tool,
    /// The tool's name of the model; `*` stands for every one.
    pub model: String,
    /// Our model, alias or combo; `off` = the vendor's own.
    pub target: String,
}

/// Everything about interception.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interception {
    /// Whether it begins with the program.
    pub start: bool,
    /// How traffic gets here.
    pub mode: Mode,
    /// Where it is awaited; `None` = as fits the mode.
    pub addr: Option<SocketAddr>,
    /// The hosts file; `None` = the system's.
    pub hosts_file: Option<PathBuf>,
    /// What becomes of each tool's traffic; those that are missing are off.
    pub tools: BTreeMap<Tool, Switch>,
    /// Hosts of tools that are switched on besides the usual ones.
    pub hosts: Vec<&'static str>,
    /// Where chats go.
    pub aliases: Vec<ToolAlias>,
    /// What becomes of names that are nobody's.
    pub unknown: Unknown,
    /// What becomes of a chat that no candidate answers.
    pub on_failure: OnFailure,
    /// Name servers for the true addresses; empty = the system's.
    pub resolvers: Vec<SocketAddr>,
    /// True addresses that are fixed.
    pub addresses: Vec<(String, IpAddr)>,
    /// Port at the true hosts where none is said.
    pub upstream_port: u16,
    /// Whether the key of a new root is thrown away.
    pub sealed: bool,
    /// Life of a new root, days.
    pub days: u32,
    /// Whether other users of this machine are intercepted too.
    pub all_users: bool,
}

impl Interception {
    /// What becomes of a tool's traffic.
    pub fn switch(&self, tool: Tool) -> Switch {
        self.tools.get(&tool).copied().unwrap_or_default()
    }

    /// Where traffic is awaited.
    pub fn addr(&self) -> SocketAddr {
        let port = if self.mode == Mode::Hosts { HTTPS_PORT } else { PROXY_PORT };
        self.addr.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The switch of a host: that of its tool if the host is a usual one, or is switched on by name; else off. `None`: it is
    /// nobody's.
    pub fn switch_of_host(&self, name: &str) -> Option<(Tool, Switch)> {
        let host = tools::host(name)?;
        let on = host.usual || self.hosts.contains(&host.name);
        Some((host.tool, if on { self.switch(host.tool) } else { Switch::Off }))
    }

    /// The hosts that are decrypted, in the order of the catalogue.
    pub fn wanted_hosts(&self) -> Vec<&'static str> {
        let on = |name| self.switch_of_host(name).is_some_and(|(_, switch)| switch != Switch::Off);
        HOSTS.iter().map(|host| host.name).filter(|name| on(name)).collect()
    }
}

/// Where clients of the hosts file come.
const HTTPS_PORT: u16 = 443;
/// Where programs come that are told: one above that of the gateway.
const PROXY_PORT: u16 = 2403;

/// A loopback address and a port, or `auto`.
pub(super) fn addr(text: &str) -> Result<Option<SocketAddr>, String> {
    let text = text.trim();
    if text.is_empty() || text == "auto" {
        return Ok(None);
    }
    let addr = value::socket(text, "127.0.0.1:443")?;
    // Whatever is decrypted here is for the programs of this machine alone.
    if !addr.ip().is_loopback() {
        return Err(format!("{} is not a loopback address: interception is for this machine alone", addr.ip()));
    }
    Ok(Some(addr))
}

/// `hosts`, `proxy`, or `reverse:HOST`.
pub(super) fn mode(text: &str) -> Result<Mode, String> {
    let text = text.trim();
    match text.split_once(':') {
        None if text == "hosts" => Ok(Mode::Hosts),
        None if text == "proxy" => Ok(Mode::Proxy),
        Some(("reverse", host)) => host_name(host).map(Mode::Reverse),
        _ => Err(format!("`{text}` is not allowed here: use hosts, proxy or reverse:HOST")),
    }
}

/// Tools with their switches: `kiro, copilot=observe, cursor=off`. A name alone switches on.
pub(super) fn switches(text: &str) -> Result<BTreeMap<Tool, Switch>, String> {
    let words = [("intercept", Switch::Intercept), ("observe", Switch::Observe), ("off", Switch::Off)];
    let mut switches = BTreeMap::new();
    for entry in value::list(text) {
        let (name, switch) = entry.split_once('=').unwrap_or((&entry, "intercept"));
        let tool = tool(name)?;
        if switches.insert(tool, value::word(switch, &words)?).is_some() {
            return Err(format!("{} is there twice", tool.name()));
        }
    }
    Ok(switches)
}

fn tool(name: &str) -> Result<Tool, String> {
    let name = name.trim();
    Tool::named(name).ok_or_else(|| value::unknown("tool", name, Tool::ALL.map(Tool::name)))
}

/// Hosts of the catalogue.
pub(super) fn hosts(text: &str) -> Result<Vec<&'static str>, String> {
    let known = |name: &String| match tools::host(name) {
        Some(host) => Ok(host.name),
        None => Err(value::unknown("host", name, HOSTS.iter().map(|host| host.name))),
    };
    value::list(text).iter().map(known).collect()
}

/// `TOOL/MODEL=TARGET`, as many as there are.
pub(super) fn aliases(text: &str) -> Result<Vec<ToolAlias>, String> {
    let wrong =
        |entry: &str| format!("`{entry}` is not an alias: use TOOL/MODEL=TARGET, such as kiro/auto=openai/gpt-5");
    let mut aliases: Vec<ToolAlias> = Vec::new();
    for entry in value::list(text) {
        let (key, target) = entry.split_once('=').ok_or_else(|| wrong(&entry))?;
        let (tool, model) = key.split_once('/').ok_or_else(|| wrong(&entry))?;
        let tool = self::tool(tool)?;
        let (model, target) = (model.trim().to_owned(), target.trim().to_owned());
        if model.is_empty() || target.is_empty() {
            return Err(wrong(&entry));
        }
        if aliases.iter().any(|other| other.tool == tool && other.model.eq_ignore_ascii_case(&model)) {
            return Err(format!("{}/{model} is there twice", tool.name()));
        }
        aliases.push(ToolAlias { tool, model, target });
    }
    Ok(aliases)
}

/// Addresses of name servers; port 53 where none is said.
pub(super) fn resolvers(text: &str) -> Result<Vec<SocketAddr>, String> {
    let read = |entry: &String| {
        let with_port = entry.parse::<SocketAddr>().ok();
        let plain = || entry.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
        with_port.or_else(plain).ok_or_else(|| format!("`{entry}` is no name server: use IP or IP:PORT"))
    };
    value::list(text).iter().map(read).collect()
}

/// `HOST=IP`, as many as there are; a host may have several.
pub(super) fn addresses(text: &str) -> Result<Vec<(String, IpAddr)>, String> {
    let read = |entry: &String| {
        let wrong = || format!("`{entry}` is no fixed address: use HOST=IP");
        let (host, ip) = entry.split_once('=').ok_or_else(wrong)?;
        Ok((host_name(host)?, ip.trim().parse().map_err(|_| wrong())?))
    };
    value::list(text).iter().map(read).collect()
}

fn host_name(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 253 || !text.chars().all(good) || text.split('.').any(str::is_empty) {
        return Err(format!("`{text}` is not a host name"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn switches_decide_which_hosts_are_wanted() {
        let tools = switches("kiro, copilot=observe, cursor=off").unwrap();
        let mut settings = Interception { tools, ..Interception::default() };
        assert_eq!(settings.wanted_hosts(), ["api.individual.githubcopilot.com", "q.us-east-1.amazonaws.com"]);
        settings.hosts = hosts("api3.cursor.sh, q.eu-central-1.amazonaws.com").unwrap();
        let wanted = ["api.individual.githubcopilot.com", "q.us-east-1.amazonaws.com", "q.eu-central-1.amazonaws.com"];
        assert_eq!(settings.wanted_hosts(), wanted, "a host of a tool that is off stays off");
        let of = |name| settings.switch_of_host(name);
        assert_eq!(of("q.us-east-1.amazonaws.com"), Some((Tool::Kiro, Switch::Intercept)));
        assert_eq!(of("codewhisperer.us-east-1.amazonaws.com"), Some((Tool::Kiro, Switch::Off)));
        assert_eq!(of("example.com"), None);
    }

    #[test]
    fn texts_are_read_or_refused_with_a_reason() {
        assert!(switches("kiros").unwrap_err().contains("did you mean `kiro`"));
        assert!(switches("monkey").unwrap_err().contains("unknown tool `monkey`"));
        assert!(switches("kiro=on").unwrap_err().contains("intercept"));
        assert!(switches("kiro,kiro=off").unwrap_err().contains("twice"));
        assert!(hosts("api2.cursor.sg").unwrap_err().contains("api2.cursor.sh"));
        assert_eq!(mode("reverse:Example.com").unwrap(), Mode::Reverse("example.com".into()));
        assert!(mode("reverse:").is_err() && mode("reverse").is_err() && mode("tun").is_err());
        assert!(addr("0.0.0.0:443").unwrap_err().contains("loopback"));
        assert!(addr("[::1]:8443").unwrap().is_some() && addr("127.0.0.2:443").unwrap().is_some());
        assert_eq!(addr("auto").unwrap(), None);
        let read = aliases("kiro/auto=fast, cursor/*=openai/gpt-5").unwrap();
        assert_eq!((read[1].tool, &*read[1].model, &*read[1].target), (Tool::Cursor, "*", "openai/gpt-5"));
        assert!(aliases("kiro=fast").is_err() && aliases("kiro/auto=a,kiro/AUTO=b").is_err());
        assert_eq!(resolvers("10.0.0.1,[::1]:5353").unwrap().len(), 2);
        assert_eq!(addresses("a.example=10.0.0.1").unwrap()[0].0, "a.example");
        assert!(addresses("a.example").is_err() && resolvers("dns").is_err());
    }

    #[test]
    fn the_place_fits_the_mode() {
        let of = |mode| Interception { mode, ..Interception::default() }.addr().to_string();
        assert_eq!(of(Mode::Hosts), "127.0.0.1:443");
        assert_eq!(of(Mode::Proxy), "127.0.0.1:2403");
    }
}

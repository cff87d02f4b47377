//! The programs whose traffic can be intercepted, and the hosts that they talk to.
//!
//! A host is known by its name alone: every name here is one that the certificate authority of this machine may sign for,
//! so that switching one on needs no new trust.

/// A program that can be intercepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tool {
    /// Google's Antigravity.
    Antigravity,
    /// GitHub Copilot, in editors and as a command.
    Copilot,
    /// Cursor.
    Cursor,
    /// AWS' Kiro.
    Kiro,
}

impl Tool {
    /// All of them.
    pub const ALL: [Tool; 4] = [Tool::Antigravity, Tool::Copilot, Tool::Cursor, Tool::Kiro];

    /// The word in settings, commands and logs.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Antigravity => "antigravity",
            Tool::Copilot => "copilot",
            Tool::Cursor => "cursor",
            Tool::Kiro => "kiro",
        }
    }

    /// The tool of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }
}

/// A host that a tool talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolHost {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Whose it is.
    pub tool: Tool,
    /// Whether it belongs to the tool as most people have it. The others are for other plans, regions and versions, and
    /// are switched on by name.
    pub usual: bool,
}

const fn usual(tool: Tool, name: &'static str) -> ToolHost {
    ToolHost { name, tool, usual: true }
}

const fn other(tool: Tool, name: &'static str) -> ToolHost {
    ToolHost { name, tool, usual: false }
}

/// Every host that may be intercepted, in the order in which they stand in the hosts file.
pub const HOSTS: &[ToolHost] = &[
    usual(Tool::Antigravity, "daily-cloudcode-pa.googleapis.com"),
    usual(Tool::Antigravity, "cloudcode-pa.googleapis.com"),
    other(Tool::Antigravity, "daily-cloudcode-pa.sandbox.googleapis.com"),
    usual(Tool::Copilot, "api.individual.githubcopilot.com"),
    other(Tool::Copilot, "api.business.githubcopilot.com"),
    other(Tool::Copilot, "api.enterprise.githubcopilot.com"),
    other(Tool::Copilot, "api.githubcopilot.com"),
    other(Tool::Copilot, "proxy.individual.githubcopilot.com"),
    other(Tool::Copilot, "proxy.business.githubcopilot.com"),
    other(Tool::Copilot, "proxy.enterprise.githubcopilot.com"),
    usual(Tool::Cursor, "api2.cursor.sh"),
    other(Tool::Cursor, "api3.cursor.sh"),
    other(Tool::Cursor, "api4.cursor.sh"),
    other(Tool::Cursor, "agent.api5.cursor.sh"),
    other(Tool::Cursor, "agentn.api5.cursor.sh"),
    other(Tool::Cursor, "agentn.global.api5.cursor.sh"),
    usual(Tool::Kiro, "q.us-east-1.amazonaws.com"),
    other(Tool::Kiro, "codewhisperer.us-east-1.amazonaws.com"),
    other(Tool::Kiro, "q.eu-central-1.amazonaws.com"),
    other(Tool::Kiro, "runtime.us-east-1.kiro.dev"),
];

/// The host of that name, in any case.
pub fn host(name: &str) -> Option<&'static ToolHost> {
    HOSTS.iter().find(|host| host.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_tool_has_a_usual_host() {
        for (at, entry) in HOSTS.iter().enumerate() {
            assert!(HOSTS[..at].iter().all(|other| other.name != entry.name), "{}", entry.name);
            assert_eq!(entry.name, entry.name.to_ascii_lowercase());
        }
        for tool in Tool::ALL {
            assert!(HOSTS.iter().any(|host| host.tool == tool && host.usual), "{}", tool.name());
            assert_eq!(Tool::named(tool.name()), Some(tool));
        }
        assert_eq!(host("API2.cursor.sh").map(|host| host.tool), Some(Tool::Cursor));
        assert_eq!(host("xapi2.cursor.sh"), None);
    }
}
